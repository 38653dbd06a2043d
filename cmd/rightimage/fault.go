// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

const faultHelp = `Make calls to a running local cloud go wrong, to see how a program copes.

What happens (--kind):
  error       answer with --code (and --status, --message, --reason) instead of acting
  deny        answer that the caller is not authorized
  throttle    answer that there were too many calls
  delay       act after --delay
  hang        neither act nor answer, until --delay or --for is over or the client
              gives up; then close the connection
  lost-reply  act, then close the connection instead of answering
  drop        close the connection without acting
  reset       break the connection off with a TCP reset, without acting
  unseen      answer that a thing made after the fault was added does not exist, for
              the first --times calls that name it; AWS takes a while to know new things

To which calls (all conditions must hold):
  --action --service --region   the calls that count
  --nth N       from the n-th such call on, counted from 1 since the fault was added
  --times N     for so many of them (0: for all)
  --percent P   for so many in a hundred, by lot; the same --seed gives the same lots
  --rate R      for those above R calls per second in a region
  --for TIME    for so long

    rightimage local fault add --action PutSnapshotBlock --kind throttle --nth 3 --times 2
    rightimage local fault add --action PutSnapshotBlock --kind throttle --rate 600
    rightimage local fault add --action '*' --service ebs --kind reset --percent 1 --seed 42
    rightimage local fault add --action '*' --kind hang --for 1m
    rightimage local fault add --action 'Describe*' --kind unseen --times 3
    rightimage local fault add --action RegisterImage --kind lost-reply --times 1
    rightimage local fault add --action 'Describe*' --kind error --code InternalError --status 500
    rightimage local fault list
    rightimage local fault clear`

func faultCommand(state *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Make calls to a running local cloud go wrong",
		Long:  faultHelp,
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(faultAddCommand(state), faultListCommand(state), faultClearCommand(state), faultCallsCommand(state))
	return cmd
}

func control(state *string) (*fault.Client, error) {
	info, err := local.ReadInfo(*state)
	if err != nil {
		return nil, err
	}
	return fault.NewClient(info.ControlSocket), nil
}

func faultAddCommand(state *string) *cobra.Command {
	var rule fault.Rule
	var kind string
	var delay, lasts time.Duration
	cmd := &cobra.Command{
		Use:   "add --action ACTION --kind KIND",
		Short: "Add a fault and print its id",
		Long:  faultHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := control(state)
			if err != nil {
				return err
			}
			rule.Kind, rule.DelayMS, rule.ForMS = fault.Kind(kind), delay.Milliseconds(), lasts.Milliseconds()
			added, err := client.Add(cmd.Context(), rule)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), added.ID)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&rule.Action, "action", "", "API action, such as RegisterImage; * and ? are wildcards")
	f.StringVar(&kind, "kind", "", "error, deny, throttle, delay, hang, lost-reply, drop, reset or unseen")
	f.StringVar(&rule.Service, "service", "", "only calls of ec2, ebs, sts, iam, ssm or s3")
	f.StringVar(&rule.Region, "region", "", "only calls in this region")
	f.IntVar(&rule.Nth, "nth", 1, "the first matching call that goes wrong")
	f.IntVar(&rule.Times, "times", 0, "how many calls go wrong; 0 for all")
	f.Float64Var(&rule.Percent, "percent", 0, "how many calls in a hundred go wrong, by lot; 0 for all")
	f.Uint64Var(&rule.Seed, "seed", 0, "seed of the lots of --percent")
	f.Float64Var(&rule.PerSecond, "rate", 0, "only calls above so many per second in a region go wrong; 0 for all")
	f.DurationVar(&lasts, "for", 0, "how long the fault lasts; 0 until it is cleared")
	f.StringVar(&rule.Code, "code", "", "error code of the kind error")
	f.StringVar(&rule.Message, "message", "", "text of the kind error")
	f.StringVar(&rule.Reason, "reason", "", "reason of the kind error, for the EBS direct API")
	f.IntVar(&rule.Status, "status", 400, "HTTP status of the kind error")
	f.DurationVar(&delay, "delay", 0, "how long to wait first, for any kind; how long to hang")
	for _, name := range []string{"action", "kind"} {
		_ = cmd.MarkFlagRequired(name) // the flags are defined above
	}
	return cmd
}

func faultListCommand(state *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the faults and how often they struck",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := control(state)
			if err != nil {
				return err
			}
			rules, err := client.List(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), rules)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tACTION\tKIND\tCODE\tNTH\tTIMES\tLIMIT\tSEEN\tHIT")
			for _, r := range rules {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%d\t%d\n", r.ID, r.Action, r.Kind, r.Code, r.Nth, r.Times, limits(r), r.Seen, r.Hit)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// limits names the further conditions of a fault.
func limits(r fault.Rule) string {
	var out []string
	if r.Percent > 0 {
		out = append(out, fmt.Sprintf("%v%%", r.Percent))
	}
	if r.PerSecond > 0 {
		out = append(out, fmt.Sprintf("above %v/s", r.PerSecond))
	}
	if r.ForMS > 0 {
		out = append(out, "for "+(time.Duration(r.ForMS)*time.Millisecond).String())
	}
	return strings.Join(out, ", ")
}

func faultClearCommand(state *string) *cobra.Command {
	return &cobra.Command{
		Use:   "clear [ID]",
		Short: "Remove one fault, or all",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := control(state)
			if err != nil {
				return err
			}
			id := ""
			if len(args) == 1 {
				id = args[0]
			}
			return client.Clear(cmd.Context(), id)
		},
	}
}

func faultCallsCommand(state *string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calls",
		Short: "Show how often each action was called since the start",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := control(state)
			if err != nil {
				return err
			}
			calls, err := client.Calls(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), calls)
			}
			for _, action := range slices.Sorted(maps.Keys(calls)) {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%6d %s\n", calls[action], action); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
