// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package render

import (
	"bytes"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Cobra reads a program that is made with cobra; the completions are cobra's own.
func Cobra(root *cobra.Command) (Program, error) {
	p := Program{
		Name: root.Name(), Short: root.Short, Synopsis: "COMMAND [options]", Long: root.Long,
		Options: options(root.PersistentFlags()), Completions: map[string]string{},
	}
	if p.Long == "" {
		p.Long = root.Short + "."
	}
	p.collect(root)
	var bash, zsh, fish bytes.Buffer
	err := errors.Join(root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh), root.GenFishCompletion(&fish, true))
	p.Completions["bash"], p.Completions["zsh"], p.Completions["fish"] = bash.String(), zsh.String(), fish.String()
	return p, err
}

// collect adds all commands below one, but for those that only hold others.
func (p *Program) collect(parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		flags := c.LocalFlags()
		if c.Long != "" || !c.HasAvailableSubCommands() || flags.HasAvailableFlags() {
			p.Commands = append(p.Commands, Command{
				Usage: strings.TrimSuffix(c.UseLine(), " [flags]"), Name: c.Name(), Short: c.Short, Long: c.Long, Example: c.Example, Options: options(flags),
			})
		}
		p.collect(c)
	}
}

func options(flags *pflag.FlagSet) []Option {
	var out []Option
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, meaning := pflag.UnquoteUsage(f)
		o := Option{Name: "--" + f.Name, Value: value, Meaning: meaning}
		if f.Shorthand != "" {
			o.Letter = "-" + f.Shorthand
		}
		if f.NoOptDefVal != "" {
			o.Value = ""
		}
		if !emptyDefault(f.DefValue) {
			o.Meaning += " (default " + f.DefValue + ")"
		}
		out = append(out, o)
	})
	return out
}

func emptyDefault(text string) bool {
	switch text {
	case "", "false", "0", "0s", "[]":
		return true
	}
	return false
}
