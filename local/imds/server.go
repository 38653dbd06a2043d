// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package imds is the instance metadata service of one instance, version 2 only:
// every request but the one for a token needs a token.
package imds

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Header names of IMDSv2.
const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

// maxTTL is the longest life of a token, six hours.
const maxTTL = 21600

// versions are the dated forms of the tree that EC2 still serves. All show the
// same here.
const versions = "1.0\n2007-01-19\n2007-03-01\n2007-08-29\n2007-10-10\n2007-12-15\n2008-02-01\n2008-09-01\n" +
	"2009-04-04\n2011-01-01\n2011-05-01\n2012-01-12\n2014-02-25\n2014-11-05\n2015-10-20\n2016-04-19\n2016-06-30\n" +
	"2016-09-02\n2018-03-28\n2018-08-17\n2018-09-24\n2019-10-01\n2020-10-27\n2021-01-03\n2021-03-23\n2021-07-15\n2022-09-24\nlatest"

// Server answers one instance. It is an http.Handler.
type Server struct {
	now    func() time.Time
	tokens tokens

	logMu sync.Mutex
	log   io.Writer

	mu       sync.RWMutex
	instance Instance
	leaves   map[string]string
	identity map[string]string // below dynamic/
}

// New makes the service of one instance. Each request is written to log as
// "TIME METHOD PATH STATUS", so that it can be proved what a guest asked for;
// nil means no log.
func New(i Instance, log io.Writer) (*Server, error) {
	t, err := newTokens()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = io.Discard
	}
	text := document(i)
	identity := map[string]string{"instance-identity/document": text}
	if i.Authority != nil {
		signatures, err := i.Authority.signed(text, time.Now())
		if err != nil {
			return nil, fmt.Errorf("sign the identity document: %w", err)
		}
		for name, value := range signatures {
			identity["instance-identity/"+name] = value
		}
	}
	return &Server{now: time.Now, tokens: t, log: log, instance: i, leaves: leaves(i), identity: identity}, nil
}

// SetTags replaces the tags, as EC2 does while an instance runs. It has no
// effect for a launch without tags in metadata.
func (s *Server) SetTags(tags map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance.Tags == nil {
		return
	}
	s.instance.Tags = tags
	s.leaves = leaves(s.instance)
}

// ServeHTTP answers and logs one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, body := s.answer(w, r)
	w.Header().Set("Server", "EC2ws")
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "text/plain")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the guest may hang up
	}
	s.logMu.Lock()
	defer s.logMu.Unlock()
	_, _ = fmt.Fprintf(s.log, "%s %s %s %d\n", s.now().UTC().Format("2006-01-02T15:04:05.000Z"), r.Method, r.URL.EscapedPath(), status)
}

// answer decides in EC2's order: forwarded requests, the token call, the token, the path.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) (int, []byte) {
	path := clean(r.URL.Path)
	switch {
	case r.Header.Get("X-Forwarded-For") != "":
		return problem(w, http.StatusForbidden) // a proxy that leads to us is an attack
	case r.Method == http.MethodPut && path == "latest/api/token":
		return s.token(w, r)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return problem(w, http.StatusMethodNotAllowed)
	}
	left, ok := s.tokens.valid(r.Header.Get(tokenHeader), s.now())
	if !ok {
		return problem(w, http.StatusUnauthorized)
	}
	w.Header().Set(ttlHeader, strconv.Itoa(left))
	return s.tree(w, path)
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) (int, []byte) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTTL {
		return problem(w, http.StatusBadRequest)
	}
	token, err := s.tokens.issue(s.now().Add(time.Duration(ttl) * time.Second))
	if err != nil {
		return problem(w, http.StatusInternalServerError)
	}
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	return http.StatusOK, []byte(token)
}

// tree answers a path below the root: VERSION/{meta-data,user-data,dynamic}.
func (s *Server) tree(w http.ResponseWriter, path string) (int, []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if path == "" {
		return http.StatusOK, []byte(versions)
	}
	version, rest, _ := strings.Cut(path, "/")
	if !slices.Contains(strings.Split(versions, "\n"), version) {
		return problem(w, http.StatusNotFound)
	}
	area, below, _ := strings.Cut(rest, "/")
	switch {
	case area == "":
		return http.StatusOK, []byte(s.areas())
	case area == "meta-data":
		if value, ok := look(s.leaves, below, s.instance.KeyName); ok {
			return http.StatusOK, []byte(value)
		}
	case area == "user-data" && below == "" && len(s.instance.UserData) > 0:
		w.Header().Set("Content-Type", "application/octet-stream")
		return http.StatusOK, s.instance.UserData
	case area == "dynamic":
		if value, ok := look(s.identity, below, ""); ok {
			return http.StatusOK, []byte(value)
		}
	}
	return problem(w, http.StatusNotFound)
}

func (s *Server) areas() string {
	if len(s.instance.UserData) == 0 {
		return "dynamic\nmeta-data"
	}
	return "dynamic\nmeta-data\nuser-data"
}

// clean drops the leading slash and doubled ones, as EC2 takes them.
func clean(path string) string {
	path = strings.TrimLeft(path, "/")
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// problem is EC2's error page.
func problem(w http.ResponseWriter, status int) (int, []byte) {
	w.Header().Set("Content-Type", "text/html")
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return status, []byte("<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n" +
		"\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n" +
		" <head>\n  <title>" + title + "</title>\n </head>\n <body>\n  <h1>" + title + "</h1>\n </body>\n</html>\n")
}
