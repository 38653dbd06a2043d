// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package render

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

const help = `tool does things.

usage: tool [--root DIR] COMMAND [options]

  start [--fast]   begins
                   --slow is for old machines
  status [--json]
                   shows what is
  start --again    is the same command

--root DIR takes all paths below DIR; --nothing is no option of a command.
`

func TestUsage(t *testing.T) {
	p, err := Usage("tool", help)
	require.NoError(t, err)
	require.Equal(t, "does things", p.Short)
	require.Equal(t, "[--root DIR] COMMAND [options]", p.Synopsis)
	require.Equal(t, []string{"--root", "--help"}, names(p.Options))
	require.Equal(t, []string{"start", "status"}, p.names())
	require.Equal(t, []string{"--fast", "--slow", "--again"}, names(p.Commands[0].Options))
	require.Equal(t, "begins", p.Commands[0].Short)
	require.Equal(t, "shows what is", p.Commands[1].Short)
	require.NotContains(t, p.Completions["bash"], "--nothing")

	for _, bad := range []string{"tool\n", "tool.\n\nusage: tool COMMAND\n\nno commands\n"} {
		_, err := Usage("tool", bad)
		require.Error(t, err)
	}
}

func TestMan(t *testing.T) {
	p := Program{
		Name: "tool", Short: "does things", Synopsis: "COMMAND", Long: "One\nparagraph.\n\n.dot and \\ and 'quote'\n\n    kept  as it is\n    'too",
		Commands: []Command{{Usage: "tool start \"x\"", Short: "Begin", Options: []Option{{Name: "--out-file", Letter: "-o", Value: "file", Meaning: "where"}}}},
	}
	require.Equal(t, `.TH "TOOL" "8" "" "RightImage" "RightImage manual"
.nh
.ad l
.SH NAME
tool \- does things
.SH SYNOPSIS
.B tool
COMMAND
.SH DESCRIPTION
One
paragraph.
.PP
\&.dot and \e and 'quote'
.PP
.nf
    kept  as it is
    'too
.fi
.SH COMMANDS
.SS "tool start \(dqx\(dq"
Begin.
.TP
\fB\-o\fR, \fB\-\-out\-file\fR \fIfile\fR
where
.SH SEE ALSO
https://github.com/rightimage/packer\-plugin\-rightimage/tree/main/docs
`, p.Man("8"))
}

func TestCobra(t *testing.T) {
	root := &cobra.Command{Use: "tool", Short: "Does things"}
	root.PersistentFlags().String("data", "here", "data `directory`")
	group := &cobra.Command{Use: "group", Short: "Holds others", RunE: func(*cobra.Command, []string) error { return nil }}
	leaf := &cobra.Command{Use: "leaf NAME", Short: "Works", Run: func(*cobra.Command, []string) {}}
	leaf.Flags().BoolP("fast", "f", false, "be quick")
	hidden := &cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}}
	group.AddCommand(leaf)
	root.AddCommand(group, hidden)
	p, err := Cobra(root)
	require.NoError(t, err)
	require.Equal(t, []Option{{Name: "--data", Value: "directory", Meaning: "data directory (default here)"}}, p.Options)
	require.Len(t, p.Commands, 1)
	require.Equal(t, "tool group leaf NAME", p.Commands[0].Usage)
	require.Equal(t, []Option{{Name: "--fast", Letter: "-f", Meaning: "be quick"}}, p.Commands[0].Options)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		require.Contains(t, p.Completions[shell], "tool")
	}
}
