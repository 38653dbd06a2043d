// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package metrics shows what the platform does to Prometheus. Labels are routes
// and states, never names, ids or addresses, so that they stay few and tell
// nothing about anybody.
package metrics

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

// Source is what is counted elsewhere.
type Source struct {
	DB *store.DB
	// Agents is the number of agents that wait for events here.
	Agents func() int
	// Events is how many events were given to agents.
	Events func() int64
}

// Metrics counts requests and shows everything else.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	leader   *prometheus.GaugeVec
}

// buckets reach from a read that is cached to the limit of an agent's patience.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// New makes the metrics of one process.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rightscaled_request_duration_seconds", Help: "Time of requests by method, route and status.", Buckets: buckets,
		}, []string{"method", "route", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rightscaled_requests_refused_total", Help: "Requests that were turned away by a limit.",
		}, []string{"limit"}),
		leader: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "rightscaled_leader", Help: "1 for work that this replica does for all.",
		}, []string{"work"}),
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "rightscaled_build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version.String()},
	}, func() float64 { return 1 })
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build, m.requests, m.refused, m.leader)
	return m
}

// Add shows a platform, too.
func (m *Metrics) Add(s Source) error {
	for _, c := range []prometheus.Collector{
		collectors.NewDBStatsCollector(s.DB.Pool(), "rightscaled"),
		gauge("rightscaled_agents_connected", "Agents that wait for events at this replica.", func() float64 { return float64(s.Agents()) }),
		counter("rightscaled_events_sent_total", "Events given to agents, repeated ones included.", func() float64 { return float64(s.Events()) }),
		counter("rightscaled_transactions_total", "Write transactions committed.", func() float64 { return float64(s.DB.Counts().Transactions) }),
		counter("rightscaled_transaction_retries_total", "Write transactions run again after a conflict.", func() float64 { return float64(s.DB.Counts().Retries) }),
		counter("rightscaled_transaction_failures_total", "Write transactions given up.", func() float64 { return float64(s.DB.Counts().Failures) }),
		&instances{db: s.DB, desc: prometheus.NewDesc("rightscaled_instances", "Living instances by state, of all replicas.", []string{"state"}, nil)},
	} {
		if err := m.registry.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

func gauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

func counter(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f)
}

// Request notes a request that was answered. route is the pattern, such as
// /api/servers/{id}; empty for none.
func (m *Metrics) Request(method, route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch:
	default:
		method = "other" // callers can invent methods
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Refused notes a request that a limit has turned away.
func (m *Metrics) Refused(limit string) { m.refused.WithLabelValues(limit).Inc() }

// Leads notes whether this replica does a work for all.
func (m *Metrics) Leads(work string, leads bool) {
	value := 0.0
	if leads {
		value = 1
	}
	m.leader.WithLabelValues(work).Set(value)
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

// Serve answers on the listener until ctx ends.
func (m *Metrics) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: m.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// instances asks the database how many instances there are.
type instances struct {
	db   *store.DB
	desc *prometheus.Desc
}

// Describe names the metric.
func (i *instances) Describe(to chan<- *prometheus.Desc) { to <- i.desc }

// Collect counts the instances by state.
func (i *instances) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counts, err := i.db.CountInstances(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(i.desc, err)
		return
	}
	for state, n := range counts {
		to <- prometheus.MustNewConstMetric(i.desc, prometheus.GaugeValue, float64(n), state)
	}
}
