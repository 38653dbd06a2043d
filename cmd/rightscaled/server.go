// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

func (a *app) server() *cobra.Command {
	return group("server", "Servers: create, launch, show, terminate, delete",
		"A server is a machine as you want it: a name, a ServerTemplate and inputs. It\nbecomes real when \"server launch\" launches an instance, or when you launch one by hand\nwith what \"server user-data\" prints, and that instance enrols.",
		a.serverCreate(), a.serverSet(), a.serverLaunch(), a.serverTerminate(), a.serverReboot(), a.serverStop(), a.serverStart(), a.serverRelaunch(),
		a.serverExpect(), a.serverUserData(), a.serverList(), a.serverShow(), a.serverRunScript(), a.serverShutdown(), a.serverTag(), a.serverDelete())
}

const createHelp = `Creates a server and its enrolment token. Its user-data (see "server user-data")
lets exactly one instance enrol as this server.

By default that instance enrols by attestation: it makes a key and shows EC2's signed
instance identity document, and the token is worth nothing afterwards. Say which
instance, account, region or image it must be to be sure that it is yours. On clouds
other than EC2, and for agents older than this, use --enrolment legacy: the token
alone, at every start (see docs/enrolment.md).

Values of inputs have the forms of RightScale:
  text:VALUE           the value itself
  cred:NAME            a credential (see "credential set"); never shown
  env:VAR              what the platform knows of the instance, such as
                       env:EC2_INSTANCE_ID or env:RS_PRIVATE_IP
  env:SERVER:VAR       the same of another server
  array:["text:a",…]   a list
  blank, ignore        set to nothing; not set at all`

func (a *app) serverCreate() *cobra.Command {
	var spec fleet.ServerSpec
	var f launchFlags
	var inputs []string
	var userDataFile string
	cmd := a.jsonFlag(&cobra.Command{
		Use: "create NAME --server-template TEMPLATE [--input NAME=VALUE ...]", Short: "Create a server and its token", Long: createHelp,
		Args:    cobra.ExactArgs(1),
		Example: "  rightscaled server create db-1 --server-template \"Example database\" \\\n    --input DB_PORT=text:6380 --input DB_PASSWORD=cred:DB_PASSWORD",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			spec.Name, spec.By = args[0], operator()
			if spec.Inputs, err = parseInputs(inputs); err != nil {
				return err
			}
			if userDataFile != "" {
				raw, err := os.ReadFile(userDataFile)
				if err != nil {
					return fmt.Errorf("--user-data-file: %w", err)
				}
				spec.UserData = string(raw)
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				p, err := f.patch(cmd.Context(), s, cmd.Flags())
				if err != nil {
					return err
				}
				spec.Launch = launchOf(p)
				if _, err := s.CreateServer(cmd.Context(), fleet.DefaultAccount, spec); err != nil {
					return err
				}
				return a.printServer(cmd, s, spec.Name, "created")
			})
		},
	})
	cmd.Flags().StringVar(&spec.Template, "server-template", "", "`name` of the ServerTemplate")
	cmd.Flags().StringArrayVar(&inputs, "input", nil, "`NAME=VALUE` of an input; may be repeated")
	cmd.Flags().StringVar(&spec.Description, "description", "", "what the server is for")
	cmd.Flags().StringVar(&spec.RightLinkVersion, "rightlink-version", "", "RightLink `version` to install (default: the image's own)")
	cmd.Flags().StringVar(&userDataFile, "user-data-file", "", "`file` with user-data of your own, appended to ours")
	cmd.Flags().StringVar(&spec.Enrolment, "enrolment", wire.EnrolAttested, "`how` the instance enrols: attested or legacy")
	cmd.Flags().StringArrayVar(&spec.Expect, "expect", nil, "`id` of the instance that may enrol, such as i-0123456789abcdef0; repeatable; see also \"server expect\"")
	cmd.Flags().StringArrayVar(&spec.Allow.Accounts, "allow-account", nil, "cloud `account` whose instances may enrol as this server; repeatable (default: what serve allows)")
	cmd.Flags().StringArrayVar(&spec.Allow.Regions, "allow-region", nil, "`region` from which the instance may come; repeatable")
	cmd.Flags().StringArrayVar(&spec.Allow.Images, "allow-image", nil, "`image` that the instance may run; repeatable")
	f.register(cmd.Flags())
	_ = cmd.MarkFlagRequired("server-template")
	return cmd
}

func parseInputs(list []string) (map[string]rightscript.Value, error) {
	inputs := map[string]rightscript.Value{}
	var problems []string
	for _, item := range list {
		name, text, found := strings.Cut(item, "=")
		value, err := rightscript.ParseValue(text)
		switch {
		case !found:
			problems = append(problems, fmt.Sprintf("--input %q: want NAME=VALUE, such as PORT=text:80", item))
		case err != nil:
			problems = append(problems, fmt.Sprintf("--input %s: %v", name, err))
		case !inputs[name].IsZero():
			problems = append(problems, fmt.Sprintf("--input %s: is given twice", name))
		default:
			inputs[name] = value
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	return inputs, nil
}

func (a *app) printServer(cmd *cobra.Command, s *fleet.Service, name, done string) error {
	v, err := s.ServerByName(cmd.Context(), fleet.DefaultAccount, name)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(cmd.OutOrStdout(), v)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s server %q (token %d); \"rightscaled server user-data %s\" prints its user-data\n", done, v.Name, v.TokenID, v.Name)
	return err
}

func (a *app) serverUserData() *cobra.Command {
	var form, host, file string
	cmd := &cobra.Command{
		Use: "user-data NAME", Short: "Print the user-data for launching a server's instance", Args: cobra.ExactArgs(1),
		Long: "Prints the launch settings of a server's current token. They identify the\nserver and hold nothing else that is secret.\n\nForms: query (one line, RightLink 5 and 6), mime (shell script part),\nmime-cloud-config (write_files part), and template (your own user-data, with\n{{ rs_agent.client_id }} and the like filled in).",
		Example: "  aws ec2 run-instances --image-id ami-0abc --user-data \"$(rightscaled server user-data web-1)\"\n" +
			"  rightscaled server user-data web-1 --form mime --output web-1.mime",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := userdata.ParseForm(form)
			if err != nil {
				return fmt.Errorf("--form: %w", err)
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				doc, err := s.UserData(cmd.Context(), byOperator(), args[0], f, host)
				if err != nil {
					return err
				}
				if file != "" {
					return os.WriteFile(file, []byte(doc), 0o600)
				}
				_, err = io.WriteString(cmd.OutOrStdout(), doc)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&form, "form", string(userdata.FormQuery), "`form`: query, mime, mime-cloud-config or template")
	cmd.Flags().StringVar(&host, "host", "", "`host[:port]` of the platform instead of the name that serve was given")
	cmd.Flags().StringVar(&file, "output", "", "write to this `file` (mode 0600) instead of standard output")
	return cmd
}

func (a *app) serverList() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "list", Short: "List the servers with their states", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				servers, err := s.Servers(cmd.Context(), fleet.DefaultAccount)
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), servers)
				}
				rows := make([]string, len(servers))
				for i, v := range servers {
					instance := "-"
					if v.Instance != nil {
						instance = v.Instance.ResourceUID
					}
					rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%d", v.Name, v.State, v.ServerTemplate, instance, v.TokenID, v.Audit.Count)
				}
				return table(cmd.OutOrStdout(), "NAME\tSTATE\tSERVER TEMPLATE\tINSTANCE\tTOKEN\tAUDIT", rows...)
			})
		},
	})
}

func (a *app) serverShow() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "show NAME", Short: "Show a server with its inputs and the history of its instance", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				v, err := s.ServerByName(cmd.Context(), fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return printJSON(cmd.OutOrStdout(), v)
				}
				return showServer(cmd.OutOrStdout(), v)
			})
		},
	})
}

func showServer(w io.Writer, v fleet.ServerView) error {
	rows := []string{"state\t" + v.State, "ServerTemplate\t" + v.ServerTemplate, fmt.Sprintf("token\t%d", v.TokenID), "enrolment\t" + v.Enrolment,
		fmt.Sprintf("audit entries\t%d", v.Audit.Count)}
	if len(v.Expected) > 0 {
		rows = append(rows, "expected\t"+strings.Join(v.Expected, " "))
	}
	if at := v.Attestation; at != nil {
		rows = append(rows, fmt.Sprintf("attested\t%s of account %s in %s, image %s", at.InstanceID, at.Account, at.Region, at.Image), "key\t"+at.Key)
	}
	if v.Description != "" {
		rows = append(rows, "description\t"+v.Description)
	}
	for name, value := range v.Inputs {
		rows = append(rows, "input "+name+"\t"+value.String())
	}
	if i := v.Instance; i != nil {
		rows = append(rows, "instance\t"+i.ResourceUID+" ("+i.State+")", "image\t"+i.ImageUID, "RightLink\t"+i.RightLinkVersion,
			"addresses\t"+strings.Join(append(i.PublicIPs, i.PrivateIPs...), " "))
		for _, c := range i.History {
			rows = append(rows, fmt.Sprintf("%s\t%s → %s %s", c.At.Format("2006-01-02 15:04:05"), c.From, c.To, c.Kind))
		}
	}
	return table(w, "name\t"+v.Name, rows...)
}

func (a *app) serverRelaunch() *cobra.Command {
	var enrolment string
	var wait time.Duration
	cmd := a.jsonFlag(&cobra.Command{
		Use: "relaunch NAME", Short: "Terminate a server's machine and launch a new one; or a new token", Args: cobra.ExactArgs(1),
		Long: "For a server in a cloud with credentials: terminates its machine as \"terminate\" does,\nif it has one, and launches a new one.\n\nFor a server that is launched by hand: issues a new token. The old token, and the\ninstance that enrolled with it, are shut out at once; the platform counts that instance\nas terminated. Launch the new instance with what \"server user-data\" prints now.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.machines(cmd, func(ctx context.Context, m *launch.Service) error {
				server, err := m.Fleet.DB.ServerByName(ctx, fleet.DefaultAccount, args[0])
				if err != nil {
					return err
				}
				if m.CanLaunch(ctx, server) {
					return a.relaunchMachine(cmd, m, server, enrolment, wait)
				}
				if _, err := m.Fleet.RelaunchServer(ctx, byOperator(), args[0], enrolment); err != nil {
					return err
				}
				return a.printServer(cmd, m.Fleet, args[0], "new token for")
			})
		},
	})
	cmd.Flags().StringVar(&enrolment, "enrolment", "", "`how` the new instance enrols: attested or legacy (default: as before)")
	waitFlag(cmd, &wait)
	return cmd
}

func (a *app) serverDelete() *cobra.Command {
	var force bool
	cmd := a.jsonFlag(&cobra.Command{
		Use: "delete NAME", Short: "Delete a server; its audit trail stays", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(s *fleet.Service) error {
				if err := s.DeleteServer(cmd.Context(), byOperator(), args[0], force); err != nil {
					return err
				}
				return a.tell(cmd, map[string]any{"server": args[0], "action": "delete"}, "deleted server %q\n", args[0])
			})
		},
	})
	cmd.Flags().BoolVar(&force, "force", false, "also while its instance lives; the instance is shut out")
	return cmd
}
