// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// launchFlags say where and how a server's machine is launched.
type launchFlags struct {
	cloud, image, kind, subnet, key, mci string
	groups                               []string
}

func (f *launchFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.cloud, "cloud", "", "`name` of the cloud to launch in (see \"cloud list\")")
	flags.StringVar(&f.image, "image", "", "`image` to launch, such as ami-0abc (default: the MultiCloudImage's)")
	flags.StringVar(&f.mci, "multi-cloud-image", "", "`name` of the MultiCloudImage (default: that of the ServerTemplate)")
	flags.StringVar(&f.kind, "instance-type", "", "instance `type` (default: the MultiCloudImage's, else "+launch.DefaultType+")")
	flags.StringVar(&f.subnet, "subnet", "", "`subnet`, such as subnet-0abc (default: the cloud's)")
	flags.StringArrayVar(&f.groups, "security-group", nil, "security `group`, such as sg-0abc; repeatable (default: the cloud's)")
	flags.StringVar(&f.key, "ssh-key", "", "`name` of the SSH key in the cloud")
}

// patch is what the given flags change.
func (f *launchFlags) patch(ctx context.Context, s *fleet.Service, flags *pflag.FlagSet) (p fleet.LaunchPatch, err error) {
	for name, set := range map[string]func(){
		"image": func() { p.ImageUID = &f.image }, "instance-type": func() { p.InstanceType = &f.kind }, "subnet": func() { p.SubnetUID = &f.subnet },
		"security-group": func() { p.SecurityGroupUIDs = &f.groups }, "ssh-key": func() { p.SSHKeyUID = &f.key },
	} {
		if flags.Changed(name) {
			set()
		}
	}
	if flags.Changed("cloud") {
		c, err := s.DB.CloudByName(ctx, fleet.DefaultAccount, f.cloud)
		if err != nil {
			return p, fmt.Errorf("--cloud: %w; \"rightscaled cloud list\" shows them", err)
		}
		p.CloudID = &c.ID
	}
	if flags.Changed("multi-cloud-image") {
		m, err := s.DB.MultiCloudImageByName(ctx, fleet.DefaultAccount, f.mci)
		if err != nil {
			return p, fmt.Errorf("--multi-cloud-image: %w", err)
		}
		p.MCIID = &m.ID
	}
	return p, nil
}

// launchOf is the launch configuration of a new server.
func launchOf(p fleet.LaunchPatch) (l store.Launch) {
	take := func(to, from *string) {
		if from != nil {
			*to = *from
		}
	}
	take(&l.ImageUID, p.ImageUID)
	take(&l.InstanceType, p.InstanceType)
	take(&l.SubnetUID, p.SubnetUID)
	take(&l.SSHKeyUID, p.SSHKeyUID)
	if p.CloudID != nil {
		l.CloudID = *p.CloudID
	}
	if p.MCIID != nil {
		l.MCIID = *p.MCIID
	}
	if p.SecurityGroupUIDs != nil {
		l.SecurityGroupUIDs = *p.SecurityGroupUIDs
	}
	return l
}

func (a *app) serverSet() *cobra.Command {
	var f launchFlags
	cmd := a.jsonFlag(&cobra.Command{
		Use: "set NAME [--cloud NAME] [--image ID] ...", Short: "Say where and how a server is launched", Args: cobra.ExactArgs(1),
		Long:    "Changes the launch configuration of a server; it counts from the next launch on. What\nis not named stays as it is, and an empty value takes one away.",
		Example: "  rightscaled server set web-1 --cloud ireland --image ami-0abc --instance-type t3.small",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				server, err := s.DB.ServerByName(cmd.Context(), fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				p, err := f.patch(cmd.Context(), s, cmd.Flags())
				if err != nil {
					return err
				}
				if err := s.UpdateServer(cmd.Context(), byOperator(), server.ID, fleet.ServerPatch{Launch: p}); err != nil {
					return err
				}
				if a.json {
					return a.printServer(cmd, s, args[0], "")
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "changed server %q\n", args[0])
				return err
			})
		},
	})
	f.register(cmd.Flags())
	return cmd
}

// waitFlag is how long a command goes on until the machine is where it shall be.
func waitFlag(cmd *cobra.Command, wait *time.Duration) {
	cmd.Flags().DurationVar(wait, "wait", 0, "wait for at most this `time` until it is done (default: \"serve\" does the rest)")
}

// outcome is what the commands print.
type outcome struct {
	Server   string              `json:"server"`
	Action   string              `json:"action"`
	Done     bool                `json:"done"`
	Problem  string              `json:"problem,omitempty"`
	Instance *fleet.InstanceView `json:"instance"`
}

// settle waits for an instance's job, if that is wanted, and prints what came of
// the action.
func (a *app) settle(cmd *cobra.Command, m *launch.Service, server, action string, instance int64, wait time.Duration) error {
	ctx := cmd.Context()
	o := outcome{Server: server, Action: action}
	job, err := m.Fleet.DB.LatestMachineJob(ctx, instance)
	if wait > 0 && err == nil {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		job, err = m.Finish(limited, instance)
		if limited.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("%s of server %q is not done within %s (step %q; %s); \"rightscaled serve\" goes on with it", action, server, wait, job.Step, dash(job.LastError))
		}
	}
	if err != nil {
		return err
	}
	o.Done, o.Problem = !job.DoneAt.IsZero(), job.LastError
	if o.Instance, err = m.Fleet.ShowInstance(ctx, instance); err != nil {
		return err
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), o)
	} else {
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s of server %q: %s (%s)%s\n", action, server, dash(o.Instance.ResourceUID), o.Instance.State, map[bool]string{false: "; going on"}[o.Done])
	}
	if err == nil && job.Outcome == store.JobFailed {
		return fmt.Errorf("%s of server %q: %s", action, server, job.LastError)
	}
	return err
}

func (a *app) serverLaunch() *cobra.Command {
	var inputs []string
	var wait time.Duration
	cmd := a.jsonFlag(&cobra.Command{
		Use: "launch NAME [--input NAME=VALUE ...]", Short: "Launch a machine for a server", Args: cobra.ExactArgs(1),
		Long: "Launches a machine in the server's cloud, with user-data in the form that the rs_agent\ntags ask for. Only that machine can enrol as the server. Inputs given here are for it\nalone. A refusal of the cloud is told at once; while the cloud is throttling, \"serve\"\ngoes on.\n\nWhere and how: \"server create\" and \"server set\". By hand: \"server user-data\".",
		Example: "  rightscaled server launch web-1 --input PORT=text:8080\n" +
			"  rightscaled server launch web-1 --wait 5m --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := parseInputs(inputs)
			if err != nil {
				return err
			}
			texts := map[string]string{}
			for name, v := range values {
				texts[name] = v.String()
			}
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				server, err := m.Fleet.DB.ServerByName(ctx, fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				inst, err := m.Launch(ctx, server.ID, texts, operator())
				if err != nil {
					return err
				}
				return a.settle(cmd, m, server.Name, "launch", inst.ID, wait)
			})
		},
	})
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "`NAME=VALUE` of an input, for this machine only; may be repeated")
	waitFlag(cmd, &wait)
	return cmd
}

// serverAct makes a command that does something with a server's machine.
func (a *app) serverAct(use, short, long string, wait *time.Duration, do func(context.Context, *launch.Service, store.Instance) error) *cobra.Command {
	action, _, _ := strings.Cut(use, " ")
	cmd := a.jsonFlag(&cobra.Command{
		Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				server, err := m.Fleet.DB.ServerByName(ctx, fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				_, inst, err := m.Fleet.Current(ctx, &m.Fleet.DB.Queries, server)
				if err != nil {
					return err
				}
				if !fleet.Living(inst) {
					return fmt.Errorf("server %q has no machine (it is %s)", server.Name, server.State)
				}
				if err := do(ctx, m, inst); err != nil {
					return err
				}
				if wait == nil {
					return a.tell(cmd, map[string]any{"server": server.Name, "action": action, "instance": fleet.NameOf(inst)},
						"asked the cloud to %s the machine of server %q\n", action, server.Name)
				}
				return a.settle(cmd, m, server.Name, action, inst.ID, *wait)
			})
		},
	})
	if wait != nil {
		waitFlag(cmd, wait)
	}
	return cmd
}

func (a *app) serverTerminate() *cobra.Command {
	var now bool
	var wait time.Duration
	cmd := a.serverAct("terminate NAME", "Decommission a server's machine and terminate it",
		"Asks the agent to run the decommission scripts, for at most 50 minutes (the tag\nrs_decommissioning:delay=medium or long gives more), and terminates the machine. An\nagent that does not take the request within 5 minutes is not there.", &wait,
		func(ctx context.Context, m *launch.Service, inst store.Instance) error {
			if now {
				return m.TerminateNow(ctx, inst.ID, operator())
			}
			return m.Terminate(ctx, inst.ID, operator())
		})
	cmd.Flags().BoolVar(&now, "now", false, "without decommission scripts, also of a termination that is under way")
	return cmd
}

func (a *app) serverStop() *cobra.Command {
	var wait time.Duration
	return a.serverAct("stop NAME", "Decommission a server's machine and stop it", "As terminate, but the machine keeps its disk and its identity; see start.", &wait,
		func(ctx context.Context, m *launch.Service, inst store.Instance) error {
			return m.Stop(ctx, inst.ID, operator())
		})
}

func (a *app) serverStart() *cobra.Command {
	var wait time.Duration
	return a.serverAct("start NAME", "Start a server's machine that was stopped", "The machine enrols as the same instance and runs its boot scripts.", &wait,
		func(ctx context.Context, m *launch.Service, inst store.Instance) error {
			return m.Start(ctx, inst.ID, operator())
		})
}

func (a *app) serverReboot() *cobra.Command {
	return a.serverAct("reboot NAME", "Reboot a server's machine", "Asks the cloud; on its way down the agent runs the decommission scripts, and at boot\nthe boot scripts. \"server shutdown --kind reboot\" asks the agent instead.", nil,
		func(ctx context.Context, m *launch.Service, inst store.Instance) error {
			return m.Reboot(ctx, inst.ID, operator())
		})
}

// relaunchMachine ends a server's machine and launches the next one.
func (a *app) relaunchMachine(cmd *cobra.Command, m *launch.Service, server store.Server, enrolment string, wait time.Duration) error {
	ctx := cmd.Context()
	if enrolment != "" {
		if err := m.Fleet.SetEnrolment(ctx, byOperator(), server.Name, enrolment); err != nil {
			return err
		}
	}
	_, old, err := m.Fleet.Current(ctx, &m.Fleet.DB.Queries, server)
	if err != nil {
		return err
	}
	if err := m.Relaunch(ctx, server.ID, operator()); err != nil {
		return err
	}
	if wait > 0 && fleet.Living(old) {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if _, err := m.Finish(limited, old.ID); err != nil {
			return fmt.Errorf("relaunch of server %q: waiting for the end of %s: %w", server.Name, fleet.NameOf(old), err)
		}
	}
	_, inst, err := m.Fleet.Current(ctx, &m.Fleet.DB.Queries, server)
	if err != nil {
		return err
	}
	return a.settle(cmd, m, server.Name, "relaunch", inst.ID, wait)
}
