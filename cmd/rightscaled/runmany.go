// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

const runManyHelp = `Asks several running instances to run a script of the account: those that are
named by their id, the current ones of servers, and the living ones that carry all
the tags, on themselves or on their server. a:b=* and a:* stand for more tags.

Each instance has an audit entry of its own. One that cannot be asked, such as a raw
instance, which has no agent, does not keep the others from it; the exit code is 1
then, and so it is with --wait when the script does not succeed on each of them.`

// ran is what became of a script on one instance.
type ran struct {
	Instance string `json:"instance"`
	Href     string `json:"href"`
	Server   string `json:"server"`
	AuditID  int64  `json:"audit_id,omitempty"`
	Summary  string `json:"summary,omitempty"` // with --wait
	Detail   string `json:"detail,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

func (a *app) instanceRunScript() *cobra.Command {
	var inputs []string
	var req fleet.RunRequest
	var targets fleet.Targets
	var wait time.Duration
	cmd := a.jsonFlag(&cobra.Command{
		Use: "run-script SCRIPT [INSTANCE ...] [--server NAME ...] [--tag TAG ...]", Short: "Run a script on several instances", Long: runManyHelp,
		Args: cobra.MinimumNArgs(1),
		Example: "  rightscaled instance run-script \"Rotate logs\" --server web-1 --server web-2 --wait 5m\n" +
			"  rightscaled instance run-script \"Rotate logs\" --tag app:role=web --json\n" +
			"  rightscaled instance run-script \"Rotate logs\" i-0123456789abcdef0",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			req.Script, targets.Instances = args[0], args[1:]
			if len(targets.Instances)+len(targets.Servers)+len(targets.Tags) == 0 {
				return errors.New("on which instances? Give ids, --server or --tag")
			}
			if req.Inputs, err = parseInputs(inputs); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(s *fleet.Service) error { return a.runMany(cmd, s, targets, req, wait) })
		},
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&targets.Servers, "server", nil, "`name` of a server; may be repeated")
	flags.StringArrayVar(&targets.Tags, "tag", nil, "`tag` that instances carry; with several, all of them")
	flags.StringArrayVar(&inputs, "input", nil, "`NAME=VALUE` of an input, before the servers' own; may be repeated")
	flags.StringVar(&req.Thread, "thread", "", "run queue on the instances (default \"default\")")
	flags.DurationVar(&wait, "wait", 0, "wait for the ends, for at most this `time`, such as 5m")
	return cmd
}

func (a *app) runMany(cmd *cobra.Command, s *fleet.Service, targets fleet.Targets, req fleet.RunRequest, wait time.Duration) error {
	ctx := cmd.Context()
	list, err := targets.Find(ctx, s, fleet.DefaultAccount)
	if err != nil {
		return err
	}
	results := make([]ran, len(list))
	for i, inst := range list {
		if results[i], err = runOne(ctx, s, inst, req); err != nil {
			return err
		}
	}
	if wait > 0 {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		for i := range results {
			if results[i].AuditID == 0 {
				continue
			}
			if err := results[i].await(limited, s, wait); err != nil && limited.Err() == nil {
				return err
			}
		}
	}
	return a.printRan(cmd, results, wait > 0)
}

// runOne queues the script; only an error that would meet all others too is one.
func runOne(ctx context.Context, s *fleet.Service, inst store.Instance, req fleet.RunRequest) (ran, error) {
	r := ran{Instance: fleet.NameOf(inst), Href: fleet.InstanceHref(inst)}
	if inst.ServerID != 0 {
		server, err := s.DB.Server(ctx, inst.ServerID)
		if err != nil {
			return r, err
		}
		r.Server = server.Name
	}
	locked, err := s.DB.InstanceLocked(ctx, inst.ID)
	if err != nil {
		return r, err
	}
	if locked {
		r.Problem = r.Instance + " is locked; unlock it first"
		return r, nil
	}
	r.AuditID, err = s.RunOn(ctx, byOperator(), inst.ID, req)
	var refused *fleet.RefusedError
	var invalid *fleet.InvalidError // inputs that one server has and another has not
	if errors.As(err, &refused) || errors.As(err, &invalid) {
		r.Problem, err = err.Error(), nil
	}
	return r, err
}

// await waits until the agent says how the script ended.
func (r *ran) await(ctx context.Context, s *fleet.Service, limit time.Duration) error {
	v, err := ended(ctx, s, r.AuditID)
	switch {
	case ctx.Err() != nil:
		r.Problem = fmt.Sprintf("the script has not ended within %s; \"rightscaled audit show %d\" shows its output", limit, r.AuditID)
		return ctx.Err()
	case err != nil:
		return err
	}
	r.Summary, r.Detail = v.Summary, *v.Detail
	if strings.HasPrefix(v.Summary, "Aborted: ") {
		r.Problem = v.Summary
	}
	return nil
}

func (a *app) printRan(cmd *cobra.Command, results []ran, waited bool) (err error) {
	failures := 0
	rows := make([]string, len(results))
	for i, r := range results {
		state := fmt.Sprintf("queued (audit entry %d)", r.AuditID)
		if r.Summary != "" {
			state = r.Summary
		}
		if r.Problem != "" {
			failures++
			state = r.Problem
		}
		rows[i] = fmt.Sprintf("%s\t%s\t%s", r.Instance, dash(r.Server), state)
	}
	if a.json {
		err = printJSON(cmd.OutOrStdout(), results)
	} else {
		for _, r := range results {
			if waited && r.Detail != "" && err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "== %s (%s)\n%s\n", r.Instance, dash(r.Server), r.Detail)
			}
		}
		if err == nil {
			err = table(cmd.OutOrStdout(), "INSTANCE\tSERVER\tSCRIPT", rows...)
		}
	}
	if err == nil && failures > 0 {
		err = fmt.Errorf("the script did not run on %d of %d instances", failures, len(results))
	}
	return err
}
