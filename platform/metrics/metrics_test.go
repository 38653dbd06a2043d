// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package metrics

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, nil)) }

func TestMetrics(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db, err := store.Open(ctx, storetest.URL(t))
	require.NoError(t, err)
	defer db.Close()
	now := time.Now()
	tmpl, err := db.PutServerTemplate(ctx, store.ServerTemplate{AccountID: 1, Name: "T", MultiCloudImages: []byte(`[]`), Alerts: []byte(`[]`)}, nil, now)
	require.NoError(t, err)
	server, err := db.CreateServer(ctx, store.Server{AccountID: 1, Name: "web", TemplateID: tmpl, Allow: []byte(`{}`)}, nil, now)
	require.NoError(t, err)
	for i, state := range []string{"operational", "operational", "booting"} {
		id, err := db.CreateInstance(ctx, store.Instance{AccountID: 1, CloudID: 1, ServerID: server, UID: string(rune('A' + i)), State: state}, now)
		require.NoError(t, err)
		require.NoError(t, db.DeclareInstance(ctx, store.Instance{ID: id, ResourceUID: "i-1"}, now))
	}
	_, err = db.CreateInstance(ctx, store.Instance{AccountID: 1, CloudID: 1, ServerID: server, UID: "not declared", State: "pending"}, now)
	require.NoError(t, err)
	before := db.Counts().Transactions
	require.NoError(t, db.InTx(ctx, func(*store.Queries) error { return nil }))

	m := New()
	require.NoError(t, m.Add(Source{DB: db, Agents: func() int { return 12 }, Events: func() int64 { return 34 }}))
	m.Request("GET", "/api/servers/{id}", 200, 20*time.Millisecond)
	m.Request("BREW", "", 404, time.Second)
	m.Refused("rate")
	m.Leads("upkeep", true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	require.NoError(t, err)
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	text := string(raw)
	for _, want := range []string{
		`rightscaled_request_duration_seconds_bucket{method="GET",route="/api/servers/{id}",status="200",le="0.025"} 1`,
		`rightscaled_request_duration_seconds_count{method="other",route="none",status="404"} 1`,
		`rightscaled_requests_refused_total{limit="rate"} 1`,
		`rightscaled_leader{work="upkeep"} 1`,
		`rightscaled_agents_connected 12`,
		`rightscaled_events_sent_total 34`,
		`rightscaled_instances{state="operational"} 2`,
		`rightscaled_instances{state="booting"} 1`,
		`rightscaled_build_info{version="`,
		`go_sql_open_connections{db_name="rightscaled"}`,
		`process_cpu_seconds_total`,
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, `state="pending"`)
	require.Contains(t, text, "rightscaled_transactions_total "+strconv.FormatInt(before+1, 10))

	// A database that does not answer leaves the rest to see.
	require.NoError(t, db.Close())
	resp, err = http.Get("http://" + l.Addr().String() + "/metrics")
	require.NoError(t, err)
	raw, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(raw), "rightscaled_agents_connected 12")
	require.False(t, strings.Contains(string(raw), "rightscaled_instances{"))
	stop()
	require.NoError(t, <-done)
}
