// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ec2 serves the EC2 query API of the local cloud: form posts in, XML
// out. What is not in the action table answers EC2's own UnsupportedOperation.
package ec2

import (
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// actionNames lists the actions that EC2 has, so that one that is missing here
// can be told from a misspelled one.
//
//go:embed actions.txt
var actionNames string

// Service answers EC2 calls from a store.
type Service struct {
	Store   *store.Store
	Fleet   Fleet
	Account string
	Regions []string
	// Settle is how long new things show themselves pending.
	Settle time.Duration
	Log    *slog.Logger
}

// request is one EC2 call with its parameters.
type request struct {
	*call.Call
	params
}

// handler carries out one action.
type handler func(*request) (reply, error)

// actions are the tables of what this cloud can do; each file has its own.
func (s *Service) actions() []map[string]handler {
	return []map[string]handler{s.imageActions(), s.snapshotActions(), s.settingActions(), s.machineActions(), s.volumeActions(), s.networkActions(), s.fleetActions(), s.commonActions()}
}

func (s *Service) handler(action string) (handler, bool) {
	for _, table := range s.actions() {
		if h, ok := table[action]; ok {
			return h, true
		}
	}
	return nil, false
}

// commonActions are those on resources of any kind and on none.
func (s *Service) commonActions() map[string]handler {
	return map[string]handler{
		"CreateTags":                s.createTags,
		"DeleteTags":                s.deleteTags,
		"DescribeTags":              s.describeTags,
		"DescribeRegions":           s.describeRegions,
		"DescribeAvailabilityZones": s.describeZones,
		"ImportKeyPair":             s.importKeyPair,
		"CreateKeyPair":             s.createKeyPair,
		"DescribeKeyPairs":          s.describeKeyPairs,
		"DeleteKeyPair":             s.deleteKeyPair,
	}
}

// Action reads the action of a query request, "" when the body names none.
func Action(body []byte, query url.Values) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	if a := form.Get("Action"); a != "" {
		return a
	}
	return query.Get("Action")
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, c *call.Call) {
	resp, err := s.do(c)
	if err == nil {
		err = writeReply(w, c, resp)
	}
	if err != nil {
		WriteError(w, c.RequestID, s.refusal(c, err))
	}
}

func (s *Service) do(c *call.Call) (reply, error) {
	form, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return nil, call.Errorf("MalformedQueryString", "The request body is not a form: %v", err)
	}
	for k, v := range c.HTTP.URL.Query() {
		form[k] = append(form[k], v...)
	}
	if c.Action == "" {
		return nil, call.Errorf("MissingAction", "The request must contain the parameter Action")
	}
	act, ok := s.handler(c.Action)
	if !ok {
		return nil, unsupported(c.Action)
	}
	return act(&request{Call: c, params: newParams(form)})
}

func unsupported(action string) error {
	for name := range strings.Lines(actionNames) {
		if strings.TrimSpace(name) == action {
			return call.Errorf("UnsupportedOperation", "The local cloud does not support the action %s. docs/local.md lists what it supports.", action)
		}
	}
	return call.Errorf("InvalidAction", "The action %s is not valid for this web service.", action)
}

// checked is called by each handler after it has read its parameters and before
// it acts: it refuses malformed and unknown parameters, and ends a dry run.
func (r *request) checked() error {
	dry := r.flag("DryRun", false)
	if err := r.problem(); err != nil {
		return err
	}
	if left := r.unread(); len(left) > 0 {
		return call.Errorf("UnsupportedOperation", "The local cloud does not support the parameter %s of %s.", strings.Join(left, ", "), r.Action)
	}
	if dry {
		return call.Errorf("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").WithStatus(http.StatusPreconditionFailed)
	}
	return nil
}

// refusal turns what went wrong into an answer of the API.
func (s *Service) refusal(c *call.Call, err error) *call.Error {
	var refused *call.Error
	if errors.As(err, &refused) {
		return refused
	}
	s.Log.Error("EC2 call broke", "action", c.Action, "region", c.Region, "error", err)
	return call.Errorf("InternalError", "%v", err).WithStatus(http.StatusInternalServerError)
}

func missing(name string) *call.Error {
	return call.Errorf("MissingParameter", "The request must contain the parameter %s", name)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
