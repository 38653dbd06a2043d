// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/rltest"
)

func bundleOf(audit int64, thread string, list ...wire.RightScript) wire.ExecutableBundle {
	return wire.ExecutableBundle{AuditID: audit, Executables: list, Policy: wire.RunlistPolicy{ThreadName: thread}}
}

func entryHas(p *rltest.Platform, id, text string) func() bool {
	return func() bool {
		e := p.Entry(id)
		return strings.Contains(strings.Join(e.Summaries, "\n")+e.Text, text)
	}
}

// Operational scripts arrive over both ways, once each, and leave the state as
// it is.
func TestOperationalScripts(t *testing.T) {
	for name, poll := range map[string]bool{"WebSocket": false, "long poll": true} {
		t.Run(name, func(t *testing.T) {
			p := rltest.New(t)
			p.NoWebSocket = poll
			root := p.Root(t)
			mark := root.Join("mark")
			p.Boot = bundleOf(1, "", script("boot", "echo boot"))
			// Queued before the boot: runs after it.
			p.Push(wire.ActorScheduleBundle, bundleOf(2, "", script("early", "echo early >>"+mark)))
			life(t, root, "", func() bool {
				if !entryHas(p, "2", "Completed: early")() {
					return false
				}
				if n, _ := p.Waiting(); n == 0 && p.Entry("3").Text == "" {
					p.Push(wire.ActorScheduleBundle, bundleOf(3, "", script("fails", "echo no; exit 3")))
					p.Push("/unknown/actor", nil)
					p.Push(wire.ActorScheduleBundle, bundleOf(4, "Bad Name", script("named", "echo")))
				}
				n, _ := p.Waiting()
				return n == 0 && entryHas(p, "3", "Aborted: fails")() && entryHas(p, "4", "Aborted: named")()
			})
			text, err := os.ReadFile(mark)
			require.NoError(t, err)
			require.Equal(t, "early\n", string(text))
			require.Equal(t, "operational", p.State())
			_, polls := p.Waiting()
			require.Equal(t, poll, polls > 0)

			// A new process of the agent does not run what the old one has taken, even
			// if the platform sends it again.
			p.With(func() { p.NoWebSocket = false })
			p.Push(wire.ActorScheduleBundle, bundleOf(5, "", script("again", "echo again >>"+mark)))
			life(t, root, "", entryHas(p, "5", "Completed: again"))
			p.Resend("event-1", wire.ActorScheduleBundle, bundleOf(6, "", script("twice", "echo twice >>"+mark)))
			life(t, root, "", func() bool { n, _ := p.Waiting(); return n == 0 })
			text, err = os.ReadFile(mark)
			require.NoError(t, err)
			require.Equal(t, "early\nagain\n", string(text))
		})
	}
}

// Scripts of one thread run in order, those of two beside each other.
func TestThreads(t *testing.T) {
	p := rltest.New(t)
	root := p.Root(t)
	at := func(name string) string { return root.Join(name) }
	slow := "touch " + at("slow") + "; while [ ! -e " + at("other") + " ]; do sleep 0.02; done; echo slow >>" + at("order")
	p.Push(wire.ActorScheduleBundle, bundleOf(1, "one", script("slow", slow)))
	p.Push(wire.ActorScheduleBundle, bundleOf(2, "one", script("next", "echo next >>"+at("order"))))
	p.Push(wire.ActorScheduleBundle, bundleOf(3, "two", script("other", "echo other >>"+at("order")+"; touch "+at("other"))))
	life(t, root, "", func() bool {
		return entryHas(p, "1", "Completed")() && entryHas(p, "2", "Completed")() && entryHas(p, "3", "Completed")()
	})
	text, err := os.ReadFile(at("order"))
	require.NoError(t, err)
	require.Equal(t, "other\nslow\nnext\n", string(text))
}

// commands notes what is run, and answers as a machine that goes down once it
// was told to.
type commands struct {
	mu   sync.Mutex
	argv []string
	down string
}

func (c *commands) Run(_ context.Context, name string, args ...string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.argv = append(c.argv, strings.TrimSpace(name+" "+strings.Join(args, " ")))
	switch name {
	case "reboot", "poweroff":
		c.down = name
	case "systemctl":
		if c.down != "" {
			return "1 " + c.down + ".target start waiting\n", nil
		}
		return serviceRestart, nil
	}
	return "", nil
}

func (c *commands) ran(what string) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return strings.Contains(strings.Join(c.argv, "\n"), what)
	}
}

func TestShutdownByReason(t *testing.T) {
	for kind, want := range map[string]string{"reboot": "reboot", "stop": "poweroff", "terminate": "poweroff"} {
		t.Run(kind, func(t *testing.T) {
			p := rltest.New(t)
			p.Decommission = bundleOf(9, "", script("bye", "echo reason $DECOM_REASON"))
			c := &commands{}
			pushed := false
			lifeWith(t, Options{Root: p.Root(t), Clock: brisk{}, Commands: c}, func() bool {
				if p.State() == "operational" && !pushed {
					p.Push(wire.ActorScheduleDecommission, wire.Decommission{Kind: kind})
					pushed = true
				}
				return c.ran(want)()
			})
			records := p.Records()
			require.Equal(t, kind, records[len(records)-1].Kind)
			require.Contains(t, p.Entry("9").Text, "reason "+kind)
		})
	}
}

// client speaks to the local API as programs on the machine do.
type client struct {
	t    *testing.T
	root paths.Root
}

func (c client) do(method, path, body string, change ...func(*http.Request)) (int, string) {
	c.t.Helper()
	text, err := os.ReadFile(c.root.Secret())
	require.NoError(c.t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(c.t, lines, 2)
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://127.0.0.1:"+strings.TrimPrefix(lines[0], "RS_RLL_PORT=")+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.Header.Set("X-RLL-Secret", strings.TrimPrefix(lines[1], "RS_RLL_SECRET="))
	for _, f := range change {
		f(req)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(raw)
}

func TestLocalAPI(t *testing.T) {
	p := rltest.New(t)
	root := p.Root(t)
	p.Tags = []string{"rs_agent_dev:log_level=debug"}
	p.Operational = map[string]wire.RightScript{"hello": script("hello", `echo "global=$GLOBAL who=$WHO"`)}
	c, level := &commands{}, new(slog.LevelVar)
	rll := client{t, root}
	lifeWith(t, Options{Root: root, Clock: brisk{}, Commands: c, Level: level}, func() bool {
		if p.State() != "operational" {
			return false
		}
		info, err := os.Stat(root.Secret())
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
		for _, tc := range []struct {
			method, path, body string
			status             int
			want               string
		}{
			{"PUT", "/rll/env/GLOBAL", `{"payload":"shared"}`, 204, ""},
			{"PUT", "/rll/env/GONE", `{"payload":"x"}`, 204, ""},
			{"DELETE", "/rll/env/GONE", "", 204, ""},
			{"DELETE", "/rll/env/GONE", "", 404, "there is no"},
			{"PUT", "/rll/env/BAD-NAME", `{"payload":"x"}`, 422, "not the name of a variable"},
			{"PUT", "/rll/env/GLOBAL", `nonsense`, 400, "payload"},
			{"GET", "/rll/env", "", 200, "GLOBAL=shared\n"},
			{"GET", "/rll/env/GLOBAL/", "", 200, "shared\n"},
			{"GET", "/rll/proc/version", "", 200, "0.1.0\n"},
			{"GET", "/rll/proc/protocol_version", "", 200, "24\n"},
			{"GET", "/rll/proc/log_level", "", 200, "debug\n"},
			{"PUT", "/rll/proc/log_level", `{"payload":"warn"}`, 204, ""},
			{"PUT", "/rll/proc/version", `{"payload":"9"}`, 422, "cannot be changed"},
			{"PUT", "/rll/proc/shutdown_kind", `{"payload":"explode"}`, 422, "want reboot"},
			{"POST", "/rll/run/right_script?right_script=hello&arguments%5BWHO%5D=text%3Ayou", "", 200, "/api/audit_entries/8"},
			{"POST", "/rll/run/right_script?right_script=nope", "", 422, "no operational script"},
			{"POST", "/rll/run/right_script", "", 400, "missing"},
			{"POST", "/rll/run/recipe?recipe=a", "", 422, "not recipes"},
			{"POST", "/rll/upgrade?version=2.0.0", "", 200, "begun"},
			{"POST", "/rll/upgrade?exec=/tmp/x", "", 422, "trusted packages"},
			{"GET", "/rll/login/control", "", 200, "enable_login=off\n"},
			{"PUT", "/rll/login/control?enable_login=maybe", "", 400, "on, off or compat"},
			{"PUT", "/rll/tss/control", "", 404, "not part of"},
			{"PUT", "/rll/tags", `{"add":["a:b=c"]}`, 200, "a:b=c\n"},
			{"GET", "/api/sessions/instance", "", 200, `"resource_uid":"i-0123"`},
			{"GET", "/api/nope", "", 404, ""},
		} {
			status, text := rll.do(tc.method, tc.path, tc.body)
			require.Equal(t, tc.status, status, "%s %s: %s", tc.method, tc.path, text)
			require.Contains(t, text, tc.want, "%s %s", tc.method, tc.path)
		}
		status, text := rll.do("GET", "/rll/env", "", func(r *http.Request) { r.Header.Set("X-RLL-Secret", "guess") })
		require.Equal(t, 401, status)
		require.NotContains(t, text, "shared")
		require.Eventually(t, entryHas(p, "8000", "Completed: hello"), 10*time.Second, 5*time.Millisecond)
		return true
	})
	require.Contains(t, p.Entry("8000").Text, "global=shared who=you\n")
	require.Equal(t, slog.LevelWarn, level.Level())
	require.True(t, c.ran(root.Bootstrap()+" upgrade --background --version 2.0.0")())
}

// A token that the platform has forgotten is renewed for a forwarded call too.
func TestForwardRenews(t *testing.T) {
	p := rltest.New(t)
	root := p.Root(t)
	life(t, root, "", func() bool {
		if p.State() != "operational" {
			return false
		}
		p.Revoke()
		status, text := client{t, root}.do("GET", "/api/sessions/instance", "")
		require.Equal(t, 200, status, text)
		return true
	})
}

// A restart on request decommissions nothing.
func TestRestartOnRequest(t *testing.T) {
	p := rltest.New(t)
	opt := Options{Root: p.Root(t), Clock: brisk{}, Commands: machine{serviceStop}, Version: "0.1.0", Log: slog.New(slog.DiscardHandler), Packages: noPackages{}}
	done := make(chan error, 1)
	go func() { done <- Run(t.Context(), opt) }()
	require.Eventually(t, func() bool { return p.State() == "operational" }, 20*time.Second, 2*time.Millisecond)
	p.Push(wire.ActorReenroll, nil)
	select {
	case err := <-done:
		require.ErrorIs(t, err, ErrRestart)
	case <-time.After(20 * time.Second):
		t.Fatal("the agent does not end")
	}
	require.Equal(t, "operational", p.State())
	require.NoFileExists(t, opt.Root.Session())
}

func TestWatchdog(t *testing.T) {
	p := rltest.New(t)
	var mu sync.Mutex
	pings := 0
	opt := Options{Root: p.Root(t), Clock: brisk{}, Commands: machine{}, Watchdog: 20 * time.Millisecond, Notify: func(s string) {
		mu.Lock()
		defer mu.Unlock()
		if s == "WATCHDOG=1" {
			pings++
		}
	}}
	lifeWith(t, opt, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return pings > 5
	})
}
