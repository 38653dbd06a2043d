// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"rightscaled": main})
}

// TestScripts runs the real command line; each script is one story.
func TestScripts(t *testing.T) { scripts(t, func() string { return "" }) }

// TestScriptsOnPostgreSQL tells the same stories with another database.
func TestScriptsOnPostgreSQL(t *testing.T) {
	cluster, err := storetest.StartCluster(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	scripts(t, func() string {
		url, err := cluster.Create(context.Background(), "")
		if err != nil {
			t.Error(err)
		}
		return url
	})
}

func scripts(t *testing.T, database func() string) {
	templates, err := filepath.Abs("../../platform/servertemplate/testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TEMPLATES", templates)
			env.Setenv("RIGHTSCALED_DATA", filepath.Join(env.WorkDir, "data"))
			env.Setenv("RIGHTSCALED_DATABASE", database())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"served": served, "enrol": enrol, "refused": refusedToken, "jsonfield": jsonField},
	})
}

// served waits for "rightscaled serve" to answer its health check.
func served(ts *testscript.TestScript, _ bool, _ []string) {
	_, err := request(ts, "GET", "/api/health-check", "", nil)
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
		_, err = request(ts, "GET", "/api/health-check", "", nil)
	}
	ts.Check(err)
}

// login shows the token of a user-data file.
func login(ts *testscript.TestScript, file string) ([]byte, error) {
	settings := map[string]string{}
	for _, item := range strings.Split(ts.ReadFile(file), "&") {
		key, value, _ := strings.Cut(item, "=")
		settings[key] = value
	}
	basic := func(r *http.Request) { r.SetBasicAuth(settings["RS_rn_id"], settings["RS_rn_auth"]) }
	return request(ts, "POST", "/api/oauth2", `{"grant_type":"client_credentials","account_id":1}`, basic)
}

// refused USERDATA-FILE TEXT wants the token refused for a reason.
func refusedToken(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := login(ts, args[0]); err == nil || !strings.Contains(err.Error(), args[1]) {
		ts.Fatalf("want a refusal with %q, got %v", args[1], err)
	}
}

// enrol USERDATA-FILE UID plays an agent that enrols and becomes operational.
func enrol(ts *testscript.TestScript, neg bool, args []string) {
	raw, err := login(ts, args[0])
	ts.Check(err)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	ts.Check(json.Unmarshal(raw, &token))
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.AccessToken) }
	_, err = request(ts, "POST", "/api/right_net/booter/declare", fmt.Sprintf(`{"resource_uid":%q,"right_link_version":"0.1.0","cloud":"ec2"}`, args[1]), bearer)
	if neg {
		if err == nil {
			ts.Fatalf("%s was not refused", args[1])
		}
		return
	}
	ts.Check(err)
	for _, state := range []string{"booting", "operational"} {
		_, err = request(ts, "PUT", "/api/right_net/state_recorder/record", fmt.Sprintf(`{"state":%q}`, state), bearer)
		ts.Check(err)
	}
}

// jsonfield FILE PATH WANT compares a field of a JSON file, such as
// 0.instance.state.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for _, step := range strings.Split(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			var i int
			if _, err := fmt.Sscan(step, &i); err != nil || i >= len(x) {
				ts.Fatalf("%s: no item %q", args[1], step)
			}
			v = x[i]
		default:
			ts.Fatalf("%s: nothing below %v", args[1], v)
		}
	}
	if got := fmt.Sprint(v); (got == args[2]) == neg {
		ts.Fatalf("%s is %q", args[1], got)
	}
}

func request(ts *testscript.TestScript, method, path, body string, change func(*http.Request)) ([]byte, error) {
	data := ts.Getenv("RIGHTSCALED_DATA")
	var serve struct{ Endpoint string }
	raw, err := os.ReadFile(filepath.Join(data, "serve.json"))
	if err == nil {
		err = json.Unmarshal(raw, &serve)
	}
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(filepath.Join(data, "tls", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(context.Background(), method, serve.Endpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-API-Version", "1.5")
	if change != nil {
		change(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, raw)
	}
	return raw, err
}
