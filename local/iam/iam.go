// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package iam serves what tools need of the identity services in the local
// cloud: roles and instance profiles of IAM, and STS. Policies are checked for
// their form and kept; nothing is ever denied because of one.
package iam

import (
	"encoding/xml"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// The namespaces of the answers.
const (
	iamNamespace = "https://iam.amazonaws.com/doc/2010-05-08/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"
)

// Service answers IAM and STS calls from a store.
type Service struct {
	Store   *store.Store
	Account string
	Log     *slog.Logger
}

// handler carries out one action; its result is what lies in ActionResult.
type handler func(*request) (any, error)

// request is one call with its parameters.
type request struct {
	*call.Call
	*form
}

func (s *Service) actions(service string) map[string]handler {
	if service == "sts" {
		return s.stsActions()
	}
	out := s.roleActions()
	for name, h := range s.policyActions() {
		out[name] = h
	}
	for name, h := range s.profileActions() {
		out[name] = h
	}
	return out
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, c *call.Call) {
	result, err := s.do(c)
	if err != nil {
		WriteError(w, c, s.refusal(c, err))
		return
	}
	write(w, http.StatusOK, answer{
		XMLName: xml.Name{Space: namespace(c.Service), Local: c.Action + "Response"},
		Result:  named{c.Action + "Result", result}, RequestID: c.RequestID,
	})
}

func (s *Service) do(c *call.Call) (any, error) {
	values, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return nil, call.Errorf("MalformedQueryString", "The request body is not a form: %v", err)
	}
	for k, v := range c.HTTP.URL.Query() {
		values[k] = append(values[k], v...)
	}
	act, ok := s.actions(c.Service)[c.Action]
	if !ok {
		return nil, call.Errorf("UnsupportedOperation", "The local cloud does not support the action %s of %s. docs/local.md lists what it supports.", c.Action, strings.ToUpper(c.Service))
	}
	return act(&request{c, &form{values: values, read: map[string]bool{"Action": true, "Version": true}}})
}

func (s *Service) refusal(c *call.Call, err error) *call.Error {
	var refused *call.Error
	if errors.As(err, &refused) {
		return refused
	}
	s.Log.Error("call broke", "service", c.Service, "action", c.Action, "error", err)
	return call.Errorf("ServiceFailure", "%v", err).WithStatus(http.StatusInternalServerError)
}

func namespace(service string) string {
	if service == "sts" {
		return stsNamespace
	}
	return iamNamespace
}

// answer is ActionResponse with ActionResult in it.
type answer struct {
	XMLName   xml.Name
	Result    named
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

// named is an element whose name is only known at run time.
type named struct {
	name  string
	value any
}

// MarshalXML writes the value under its name; actions that only say that they
// did it have no result.
func (n named) MarshalXML(e *xml.Encoder, _ xml.StartElement) error {
	if n.value == nil {
		return nil
	}
	return e.EncodeElement(n.value, xml.StartElement{Name: xml.Name{Local: n.name}})
}

type errorAnswer struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

// WriteError writes an error in the form of IAM and STS.
func WriteError(w http.ResponseWriter, c *call.Call, e *call.Error) {
	kind := "Sender"
	if e.Status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	write(w, e.Status, errorAnswer{xml.Name{Space: namespace(c.Service), Local: "ErrorResponse"}, kind, e.Code, e.Message, c.RequestID})
}

func write(w http.ResponseWriter, status int, body any) {
	out, err := xml.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write(out) // the client may be gone
}

// update runs f on the records of all regions.
func (s *Service) update(f func(*store.Region) error) error { return s.Store.Update(store.Global, f) }

// view is update for reading.
func (s *Service) view(f func(*store.Region) error) error { return s.Store.View(store.Global, f) }
