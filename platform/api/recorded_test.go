// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/access"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// exchange is a request exactly as a tool sends it, apart from ids and secrets
// in {{}}, and what the answer must be.
type exchange struct {
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Headers  map[string]string `json:"headers"`
	Body     string            `json:"body"`
	Status   int               `json:"status"`
	Type     string            `json:"type"`
	Location string            `json:"location"` // how it begins
	Contains []string          `json:"contains"`
	// Keep names parts of the answer for later requests: Location, the last part
	// of it as "Location/", or a JSON field.
	Keep map[string]string `json:"keep"`
}

// check is a command of rsc with the requests that it makes.
type check struct {
	Name   string   `json:"name"`
	Args   []string `json:"args"`
	Exit   int      `json:"exit"`
	Prints string   `json:"prints"` // all that it prints, "" for anything
	Keep   string   `json:"keep"`   // names what it prints
	// Before and After name what happens around it, see tools.
	Before   string     `json:"before"`
	After    string     `json:"after"`
	Requests []exchange `json:"requests"`
}

// tools is a platform with a cloud, and the names of what was made in it.
type tools struct {
	*world
	cloud *cloudtest.World
	agent *cloudtest.Agent
	vars  map[string]string
}

func startTools(t *testing.T) *tools {
	t.Helper()
	c := cloudtest.New(t)
	w := &tools{world: &world{t: t, fleet: c.Fleet, logs: &syncBuffer{}, done: make(chan error, 1)}, cloud: c}
	w.serve(c.Dir, c.Launch)
	people := peopleOf(c.Fleet)
	_, err := people.AddUser(t.Context(), fleet.DefaultAccount, access.NewUser{Email: "ann@example.net", Password: "correct horse battery", Roles: []access.Role{access.Admin}}, "test")
	require.NoError(t, err)
	token, err := people.NewRefreshToken(t.Context(), fleet.DefaultAccount, "ann@example.net", "test", "test")
	require.NoError(t, err)
	require.NoError(t, c.Fleet.DB.PutImage(t.Context(), store.Image{CloudID: c.Cloud.ID, UID: fleet.NewUID(), ResourceUID: c.Image, Name: "demo"}, c.Fleet.Now()))
	require.NoError(t, c.Fleet.DB.PutCloudResource(t.Context(), store.CloudResource{CloudID: c.Cloud.ID, Kind: store.KindInstanceType, UID: fleet.NewUID(), ResourceUID: "t3.micro", Name: "t3.micro"}, c.Fleet.Now()))
	image, err := c.Fleet.DB.Image(t.Context(), c.Cloud.ID, c.Image)
	require.NoError(t, err)
	kind, err := c.Fleet.DB.CloudResource(t.Context(), c.Cloud.ID, store.KindInstanceType, "t3.micro")
	require.NoError(t, err)
	cloud := cloudHref(c.Cloud.ID)
	w.vars = map[string]string{"account": "1", "refresh": token.Reveal(), "cloud": cloud, "ami": c.Image,
		"image": cloud + "/images/" + image.UID, "type": cloud + "/instance_types/" + kind.UID}
	return w
}

var placeholder = regexp.MustCompile(`\{\{(\w+)(\|query)?\}\}`)

func (w *tools) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(name string) string {
		m := placeholder.FindStringSubmatch(name)
		value, ok := w.vars[m[1]]
		require.True(w.t, ok, "%s is not known yet", name)
		if m[2] != "" {
			return url.QueryEscape(value)
		}
		return value
	})
}

// send sends one exchange, without any header that is not in it, and looks at
// the answer.
func (w *tools) send(e exchange) {
	t := w.t
	t.Helper()
	target := w.fill(e.Path)
	if strings.HasPrefix(target, "/") {
		target = w.base + target
	}
	req, err := http.NewRequestWithContext(t.Context(), e.Method, target, strings.NewReader(w.fill(e.Body)))
	require.NoError(t, err)
	for name, value := range e.Headers {
		if name != "Accept-Encoding" { // the transport sends the same
			req.Header.Set(name, w.fill(value))
		}
	}
	client := *w.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("an answer sends the tool elsewhere") }
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	what := e.Method + " " + target + ": " + string(raw)
	require.Equal(t, e.Status, resp.StatusCode, what)
	if e.Type != "" {
		require.Equal(t, e.Type, resp.Header.Get("Content-Type"), what)
	}
	if e.Location != "" {
		require.True(t, strings.HasPrefix(resp.Header.Get("Location"), w.fill(e.Location)), "%s: Location %s", what, resp.Header.Get("Location"))
	}
	if e.Status == http.StatusNoContent || e.Status == http.StatusCreated {
		require.Empty(t, strings.TrimSpace(string(raw)))
	}
	for _, text := range e.Contains {
		require.Contains(t, string(raw), w.fill(text), what)
	}
	w.keep(e, resp.Header.Get("Location"), raw)
}

func (w *tools) keep(e exchange, location string, raw []byte) {
	for name, from := range e.Keep {
		switch from {
		case "Location":
			w.vars[name] = location
		case "Location/":
			w.vars[name] = path.Base(location)
		default:
			var body any
			require.NoError(w.t, json.Unmarshal(raw, &body))
			if list, ok := body.([]any); ok {
				require.NotEmpty(w.t, list)
				body = list[0]
			}
			value, ok := body.(map[string]any)[from].(string)
			require.True(w.t, ok, "%s has no %s", raw, from)
			w.vars[name] = value
		}
	}
}

func readData(t *testing.T, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

// around does what happens beside the tool.
func (w *tools) around(what string) {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	by := fleet.By{Account: fleet.DefaultAccount, Who: "test"}
	switch what {
	case "":
	case "image": // the ServerTemplate gets an image for the cloud
		name := "Demo"
		mci, err := w.fleet.CreateMultiCloudImage(ctx, by, fleet.ImagePatch{Name: &name})
		require.NoError(t, err)
		_, err = w.fleet.PutSetting(ctx, by, store.MCISetting{MCIID: mci, CloudID: w.cloud.Cloud.ID, ImageUID: w.cloud.Image, InstanceType: "t3.micro"})
		require.NoError(t, err)
		var st int64
		require.NoError(t, json.Unmarshal([]byte(path.Base(w.vars["st"])), &st))
		_, err = w.fleet.ConnectImage(ctx, by, st, mci)
		require.NoError(t, err)
	case "boot": // the launched machine enrols
		w.cloud.Work("the machine is named", func() bool { return w.current().ResourceUID != "" })
		w.agent = w.cloud.Agent(w.current().ResourceUID).Boot()
		require.Equal(t, w.vars["instance"], w.agent.Self())
	case "ran": // the agent is asked to run the script with the value
		e, ok := w.agent.Take()
		require.True(t, ok)
		var b wire.ExecutableBundle
		require.NoError(t, json.Unmarshal(e.Data, &b))
		require.Equal(t, "y", b.Executables[0].Parameters["WHO"])
		require.Equal(t, "hello", b.Executables[0].Nickname)
	default:
		t.Fatalf("nobody knows %q", what)
	}
}

func (w *tools) current() store.Instance {
	w.t.Helper()
	inst, err := w.fleet.DB.InstanceByUID(w.t.Context(), fleet.DefaultAccount, path.Base(w.vars["instance"]))
	require.NoError(w.t, err)
	return inst
}

// The checks of rsc, as the requests that it sends.
func TestRSC(t *testing.T) {
	w := startTools(t)
	var checks []check
	readData(t, "rsc.json", &checks)
	require.GreaterOrEqual(t, len(checks), 15)
	for _, c := range checks {
		w.around(c.Before)
		for _, e := range c.Requests {
			w.send(e)
		}
		w.around(c.After)
		t.Log("ok", c.Name)
	}
	w.decommissioned()
}

// decommissioned ends what the terminate check began: the agent is asked for
// its decommission scripts, and then the machine ends.
func (w *tools) decommissioned() {
	w.t.Helper()
	var asked wire.Event
	w.cloud.Work("the agent is asked to decommission", func() bool {
		var ok bool
		asked, ok = w.agent.Take()
		return ok
	})
	require.Equal(w.t, wire.ActorScheduleDecommission, asked.Path)
	w.agent.Record(wire.StateDecommissioning, "")
	w.agent.Record(wire.StateDecommissioned, wire.KindTerminate)
	w.cloud.Work("the machine ends", func() bool { return w.cloud.Alive() == 0 })
}

// The same with the real program, where there is one: RIGHTIMAGE_RSC=/path/rsc.
func TestRealRSC(t *testing.T) {
	program := os.Getenv("RIGHTIMAGE_RSC")
	if program == "" {
		t.Skip("RIGHTIMAGE_RSC does not name the program rsc")
	}
	w := startTools(t)
	var checks []check
	readData(t, "rsc.json", &checks)
	for _, c := range checks {
		w.around(c.Before)
		args := []string{"-c", "/nonexistent", "--host", strings.Replace(strings.TrimPrefix(w.base, "https://"), "127.0.0.1", "localhost", 1), "--refreshToken", w.vars["refresh"], "--account", "1"}
		for _, a := range c.Args {
			args = append(args, w.fill(a))
		}
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+w.ca)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		err := cmd.Run()
		var exit *exec.ExitError
		require.True(t, err == nil || errors.As(err, &exit), "%v", err)
		require.Equal(t, c.Exit, cmd.ProcessState.ExitCode(), "%s: %s%s", c.Name, out.String(), errOut.String())
		if c.Prints != "" {
			require.Equal(t, c.Prints, out.String(), c.Name)
		}
		if c.Keep != "" {
			w.vars[c.Keep] = out.String()
		}
		w.around(c.After)
	}
	w.decommissioned()
}

// An upload, a second one, a download and the removal of a ServerTemplate by
// right_st.
func TestRightST(t *testing.T) {
	w := startTools(t)
	var steps []exchange
	readData(t, "right_st.json", &steps)
	for _, e := range steps {
		w.send(e)
	}
	templates, err := w.fleet.DB.ServerTemplates(t.Context(), fleet.DefaultAccount)
	require.NoError(t, err)
	require.Len(t, templates, 1, "its own is gone again")
	require.NotContains(t, w.logs.String(), secret.String(w.vars["refresh"]).Reveal())
}
