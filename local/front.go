// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/ebs"
	"github.com/rightimage/packer-plugin-rightimage/local/ec2"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/iam"
	"github.com/rightimage/packer-plugin-rightimage/local/s3"
	"github.com/rightimage/packer-plugin-rightimage/local/ssm"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// front is the one door of all services: it reads the signature, makes calls go
// wrong that should, and hands the others to their service.
type front struct {
	keys    call.Keys
	regions []string
	account string
	faults  *fault.Set
	store   *store.Store
	ec2     *ec2.Service
	ebs     *ebs.Service
	iam     *iam.Service
	ssm     *ssm.Service
	s3      *s3.Service
	now     func() time.Time
	log     *slog.Logger
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call.Call{RequestID: call.NewRequestID(), Host: r.Host, HTTP: r, Service: guessService(r)}
	body, err := readBody(w, r)
	if err != nil {
		f.refuse(w, c, call.Errorf("RequestEntityTooLarge", "%v", err))
		return
	}
	c.Body = body
	if r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Authorization") == "" {
		f.greet(w)
		return
	}
	if refused := f.authenticate(c); refused != nil {
		f.log.Warn("refused", "service", c.Service, "region", c.Region, "code", refused.Code, "message", refused.Message)
		f.refuse(w, c, refused)
		return
	}
	c.Action = dialectOf(c.Service).action(c)
	f.log.Debug("call", "service", c.Service, "region", c.Region, "action", c.Action)
	if rule, due := f.faults.Next(fault.Call{Service: c.Service, Region: c.Region, Action: c.Action, New: f.newlyNamed(c)}); due {
		f.fault(w, c, rule)
		return
	}
	f.serve(w, c)
}

// serve hands the call to its service.
func (f *front) serve(w http.ResponseWriter, c *call.Call) {
	switch c.Service {
	case "ec2":
		f.ec2.Serve(w, c)
	case "ebs":
		f.ebs.Serve(w, c)
	case "iam", "sts":
		f.iam.Serve(w, c)
	case "ssm":
		f.ssm.Serve(w, c)
	case "s3":
		f.s3.Serve(w, c)
	default:
		f.refuse(w, c, call.Errorf("UnsupportedOperation", "The local cloud has the services %s, but not '%s'.", Services, c.Service))
	}
}

// authenticate fills in who calls which service in which region.
func (f *front) authenticate(c *call.Call) *call.Error {
	sig, err := call.ParseSignature(c.HTTP)
	if err == nil {
		c.Service, c.Region, c.AccessKey = sig.Service, sig.Region, sig.AccessKey
		err = f.keys.Verify(sig, c.HTTP, c.Body, f.now())
	}
	if err == nil && f.keys.AccessKey != "" {
		err = f.iam.Verify(c)
	}
	if err != nil {
		return authError(c.Service, err)
	}
	// What is the same in all regions is signed for us-east-1 by some tools.
	global := c.Region == "us-east-1" && (c.Service == "iam" || c.Service == "sts" || c.Service == "s3")
	if !slices.Contains(f.regions, c.Region) && !global {
		return call.Errorf(dialectOf(c.Service).mismatch, "Credential should be scoped to a valid region. The local cloud has no region '%s'; its regions are %s.", c.Region, strings.Join(f.regions, ", ")).
			WithStatus(http.StatusForbidden)
	}
	return nil
}

// refuse writes an error in the form of the call's service.
func (f *front) refuse(w http.ResponseWriter, c *call.Call, e *call.Error) {
	dialectOf(c.Service).writeError(w, c, e)
}

// guessService tells the form of the error for a request without a signature.
func guessService(r *http.Request) string {
	if strings.HasPrefix(r.URL.Path, "/snapshots") {
		return "ebs"
	}
	return "ec2"
}

func (f *front) greet(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, "This is the local cloud of rightimage: %s in %s.\n", Services, strings.Join(f.regions, ", ")) // the client may be gone
}
