// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package web

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// reader is what htmx does with the page of an entry: it polls, appends what
// comes out of band, and follows the new address.
type reader struct {
	*visitor
	text, summary, next string
}

func (v *visitor) reads(path string) *reader {
	v.t.Helper()
	r := &reader{visitor: v}
	r.take(v.sees(path).root)
	return r
}

func (r *reader) take(root *html.Node) {
	r.next = ""
	for _, n := range all(root, "*") {
		switch {
		case attr(n, "id") == "log":
			r.text = raw(n)
		case attr(n, "hx-swap-oob") == "beforeend:#log":
			r.text += raw(n)
		case attr(n, "id") == "summary":
			r.summary = raw(n)
		case attr(n, "id") == "tail":
			r.next = attr(n, "hx-get")
		}
	}
}

func raw(n *html.Node) (text string) {
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text += d.Data
		}
	}
	return text
}

// polls asks once; false when nothing has changed.
func (r *reader) polls() bool {
	r.t.Helper()
	require.NotEmpty(r.t, r.next, "the entry is not live any more")
	p := r.do(http.MethodGet, r.next, nil, func(r *http.Request) { r.Header.Set("HX-Request", "true") })
	if p.status == http.StatusNoContent {
		return false
	}
	require.Equal(r.t, http.StatusOK, p.status)
	r.take(p.root)
	return true
}

// The text of a script appears while it is written, in order and once, until
// the agent has said how it ended.
func TestLiveAudit(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	a := w.enrol(w.server("web-1"), "i-0123456789abcdef0")
	id, err := w.fleet.RunScript(ctx, fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test start", By: "me"})
	require.NoError(t, err)
	r := w.as("observer").reads("/audit/" + itoa(id))
	require.Equal(t, []string{"Queued: Test start", ""}, []string{r.summary, r.text})
	require.False(t, r.polls(), "nothing has happened")

	a.writes(id, "", "\none <b>\n")
	require.True(t, r.polls())
	require.Equal(t, "\none <b>\n", r.text)
	require.False(t, r.polls())

	// Half a character waits for its other half; a hole for what is missing.
	a.writes(id, "", "caf\xc3")
	require.True(t, r.polls())
	require.Equal(t, "\none <b>\ncaf", r.text)
	a.writes(id, "", "\xa9\n")
	require.True(t, r.polls())
	require.Equal(t, "\none <b>\ncafé\n", r.text)
	offset := int64(len(r.text) + 4)
	require.NoError(t, w.fleet.AppendAudit(ctx, a.sess, id, fleet.AuditPatch{Detail: "late\n", Offset: &offset}))
	r.polls()
	require.Equal(t, "\none <b>\ncafé\n", r.text)
	offset -= 4
	require.NoError(t, w.fleet.AppendAudit(ctx, a.sess, id, fleet.AuditPatch{Detail: "two\n", Offset: &offset}))
	require.True(t, r.polls())
	require.Equal(t, "\none <b>\ncafé\ntwo\nlate\n", r.text)

	a.writes(id, "Completed: Test start", "end\n")
	require.True(t, r.polls())
	require.Equal(t, "Completed: Test start", r.summary)
	require.True(t, strings.HasSuffix(r.text, "late\nend\n"))
	require.NotEmpty(t, r.next, "the last lines may come after the word")
	w.skew.Add(int64(time.Minute))
	for r.next != "" {
		require.True(t, r.polls(), "an entry that is over ends the polling")
	}
	p := w.as("observer").sees("/audit/"+itoa(id)+"/text", "café")
	require.Equal(t, "text/plain; charset=utf-8", p.header.Get("Content-Type"))
	require.Equal(t, http.StatusUnprocessableEntity, w.as("observer").get("/audit/"+itoa(id)+"/tail?from=-1").status)
}

// A long text begins near its end, at the start of a line; the whole of it is a
// download.
func TestLongAudit(t *testing.T) {
	w := start(t)
	ctx := context.Background()
	a := w.enrol(w.server("web-1"), "i-0123456789abcdef0")
	id, err := w.fleet.RunScript(ctx, fleet.DefaultAccount, "web-1", fleet.RunRequest{Script: "Test start", By: "me"})
	require.NoError(t, err)
	line := strings.Repeat("ü", 40) + "\n"
	for range 50 {
		a.writes(id, "", strings.Repeat(line, 100))
	}
	v := w.as("observer")
	r := v.reads("/audit/" + itoa(id))
	require.Contains(t, textOf(v.get("/audit/"+itoa(id)).root), "The beginning is left out")
	require.True(t, strings.HasPrefix(r.text, line))
	require.Less(t, len(r.text), shownDetail+1)
	require.Greater(t, len(r.text), shownDetail-len(line))
	a.writes(id, "", strings.Repeat(line, 9000)) // more than one answer holds
	for r.polls() {
	}
	require.True(t, strings.HasSuffix(r.text, line))
	require.Zero(t, strings.Count(strings.ReplaceAll(r.text, line, ""), "ü"), "no line came twice, in part, or not")
	require.Greater(t, len(r.text), 9000*len(line))
}
