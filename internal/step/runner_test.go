// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
)

// asked is a ui that answers questions and notes everything.
type asked struct {
	packersdk.MockUi

	answers   []string
	questions []string
	errors    []string
}

func (a *asked) Ask(question string) (string, error) {
	a.questions = append(a.questions, question)
	if len(a.answers) == 0 {
		return "", errors.New("nobody there")
	}
	text := a.answers[0]
	a.answers = a.answers[1:]
	return text, nil
}

func (a *asked) Error(text string) { a.errors = append(a.errors, text) }

func TestOnError(t *testing.T) {
	for name, test := range map[string]struct {
		mode    string
		answers []string
		want    []string // what was done
		fails   bool
	}{
		"cleanup":             {mode: "cleanup", want: []string{"made 1", "undone 1", "undone first"}, fails: true},
		"abort":               {mode: "abort", want: []string{"made 1"}, fails: true},
		"cleanup provisioner": {mode: "run-cleanup-provisioner", want: []string{"made 1"}, fails: true},
		"ask: clean up":       {mode: "ask", answers: []string{"c"}, want: []string{"made 1", "undone 1", "undone first"}, fails: true},
		"ask: keep":           {mode: "ask", answers: []string{"Abort"}, want: []string{"made 1"}, fails: true},
		"ask: nobody":         {mode: "ask", want: []string{"made 1", "undone 1", "undone first"}, fails: true},
		// What the failed tries have made is undone before the next one.
		"ask: try again": {mode: "ask", answers: []string{"r", "retry"}, want: []string{"made 1", "undone 1", "made 2", "undone 2", "made 3", "undone 3", "undone first"}},
	} {
		t.Run(name, func(t *testing.T) {
			ui := &asked{answers: test.answers}
			state := new(multistep.BasicStateBag)
			state.Put("ui", packersdk.Ui(ui))
			var done []string
			try := 0
			steps := []multistep.Step{
				Act("begin", func(_ context.Context, j *Job) error {
					j.Owe("first", func(context.Context) error { done = append(done, "undone first"); return nil })
					return nil
				}),
				Act("make it", func(_ context.Context, j *Job) error {
					try++
					done = append(done, fmt.Sprint("made ", try))
					undone := fmt.Sprint("undone ", try)
					j.Owe("it", func(context.Context) error { done = append(done, undone); return nil })
					if try < 3 {
						return errors.New("no luck")
					}
					return nil
				}),
			}
			Run(t.Context(), steps, common.PackerConfig{PackerOnError: test.mode}, ui, state)
			require.Equal(t, test.want, done)
			require.Equal(t, test.fails, Outcome(t.Context(), state) != nil)
			if test.mode == "ask" {
				require.Contains(t, ui.questions[0], `"make it" failed`)
			}
			if len(test.want) == 1 {
				require.Contains(t, ui.errors, "not undone, as -on-error asks: begin")
			}
		})
	}
}

func TestDebugPausesAtEveryStep(t *testing.T) {
	ui := &asked{}
	state := new(multistep.BasicStateBag)
	state.Put("ui", packersdk.Ui(ui))
	Run(t.Context(), []multistep.Step{Act("one", func(context.Context, *Job) error { return nil })}, common.PackerConfig{PackerDebug: true}, ui, state)
	require.NoError(t, Outcome(t.Context(), state))
	require.Equal(t, []string{`paused after "one"; press Enter to go on`, `paused before the undo of "one"; press Enter to go on`}, ui.questions)
}

// Values of build.* that Packer promises of every builder.
func TestHookData(t *testing.T) {
	t.Setenv("PACKER_RUN_UUID", "the-run")
	state := new(multistep.BasicStateBag)
	state.Put("generated_data", map[string]any{"SourceAMI": "ami-1"})
	state.Put("instance_id", "i-1")
	data := hookData(state)
	require.Equal(t, "i-1", data["ID"])
	require.Equal(t, "the-run", data["PackerRunUUID"])
	require.Equal(t, "ami-1", data["SourceAMI"])
	require.Contains(t, data["PackerHTTPAddr"], "ERR_")
	require.NotContains(t, state.Get("generated_data"), "ID", "the builder's own map is left alone")
}
