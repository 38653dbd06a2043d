// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/ebs"
	"github.com/rightimage/packer-plugin-rightimage/local/ec2"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// maxBody holds a snapshot block or a request with full user-data.
const maxBody = 1 << 20

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
	now     func() time.Time
	log     *slog.Logger
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call.Call{RequestID: call.NewRequestID(), Host: r.Host, HTTP: r, Service: guessService(r)}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		f.refuse(w, c, call.Errorf("RequestEntityTooLarge", "The request is not readable or larger than %d bytes: %v", maxBody, err))
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
	if c.Service == "ebs" {
		c.Action = ebs.Action(r.Method, r.URL.Path)
	} else {
		c.Action = ec2.Action(body, r.URL.Query())
	}
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
	case "sts":
		f.serveSTS(w, c)
	default:
		f.refuse(w, c, call.Errorf("UnsupportedOperation", "The local cloud has the services ec2, ebs and sts, but not '%s'.", c.Service))
	}
}

// authenticate fills in who calls which service in which region.
func (f *front) authenticate(c *call.Call) *call.Error {
	sig, err := call.ParseSignature(c.HTTP)
	if err == nil {
		c.Service, c.Region, c.AccessKey = sig.Service, sig.Region, sig.AccessKey
		err = f.keys.Verify(sig, c.HTTP, c.Body, f.now())
	}
	if err != nil {
		return authError(c.Service, err)
	}
	if !slices.Contains(f.regions, c.Region) {
		return call.Errorf(authCode(c.Service), "Credential should be scoped to a valid region. The local cloud has no region '%s'; its regions are %s.", c.Region, strings.Join(f.regions, ", ")).
			WithStatus(http.StatusForbidden)
	}
	return nil
}

// authError is a refused signature in the words of the service.
func authError(service string, err error) *call.Error {
	if service == "ec2" {
		switch {
		case errors.Is(err, call.ErrNotSigned):
			return call.Errorf("MissingAuthenticationToken", "The request must contain a SigV4 Authorization header").WithStatus(http.StatusForbidden)
		case errors.Is(err, call.ErrMalformed):
			return call.Errorf("IncompleteSignature", "The Authorization header does not conform to SigV4")
		case errors.Is(err, call.ErrExpired):
			return call.Errorf("RequestExpired", "Request has expired. Check the clock of this computer.")
		}
		return call.Errorf("AuthFailure", "AWS was not able to validate the provided access credentials").WithStatus(http.StatusUnauthorized)
	}
	code, text := authCode(service), err.Error()
	switch {
	case errors.Is(err, call.ErrNotSigned):
		code, text = orText(map[string]string{"sts": "MissingAuthenticationToken"}[service], "MissingAuthenticationTokenException"), "Missing Authentication Token"
	case errors.Is(err, call.ErrMalformed):
		code, text = orText(map[string]string{"sts": "IncompleteSignature"}[service], "IncompleteSignatureException"), "The Authorization header does not conform to SigV4"
	case errors.Is(err, call.ErrUnknown):
		code, text = orText(map[string]string{"sts": "InvalidClientTokenId"}[service], "UnrecognizedClientException"), "The security token included in the request is invalid."
	case errors.Is(err, call.ErrExpired):
		text = "Signature expired or not yet current. Check the clock of this computer."
	case errors.Is(err, call.ErrMismatch):
		text = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
	}
	return call.Errorf(code, "%s", text).WithStatus(http.StatusForbidden)
}

func authCode(service string) string {
	switch service {
	case "ec2":
		return "AuthFailure"
	case "ebs":
		return "InvalidSignatureException"
	}
	return "SignatureDoesNotMatch"
}

// refuse writes an error in the form of the call's service.
func (f *front) refuse(w http.ResponseWriter, c *call.Call, e *call.Error) {
	switch c.Service {
	case "ebs":
		ebs.WriteError(w, c.RequestID, e)
	case "sts":
		writeSTSError(w, c.RequestID, e)
	default:
		ec2.WriteError(w, c.RequestID, e)
	}
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
	_, _ = fmt.Fprintf(w, "This is the local cloud of rightimage: ec2, ebs and sts in %s.\n", strings.Join(f.regions, ", ")) // the client may be gone
}
