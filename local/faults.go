// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// fault makes a call go wrong as the rule says.
func (f *front) fault(w http.ResponseWriter, c *call.Call, rule fault.Rule) {
	f.log.Info("fault", "id", rule.ID, "kind", rule.Kind, "action", c.Action, "call", rule.Seen)
	if rule.OnHit != nil {
		rule.OnHit()
	}
	if rule.Kind == fault.Hang {
		hang(c.HTTP, rule)
		f.hangUp(w)
		return
	}
	if wait := rule.Wait(); wait > 0 && !pause(c.HTTP, wait) {
		return
	}
	switch rule.Kind {
	case fault.Delay:
		f.serve(w, c)
	case fault.LostReply:
		f.serve(httptest.NewRecorder(), c)
		f.hangUp(w)
	case fault.Drop:
		f.hangUp(w)
	case fault.Reset:
		f.reset(w)
	default:
		f.refuse(w, c, f.injected(c, rule))
	}
}

// pause waits; false when the client gives up or the server stops meanwhile.
func pause(r *http.Request, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// hang does nothing until the delay or the rule is over, or the client gives up.
func hang(r *http.Request, rule fault.Rule) {
	var end <-chan time.Time
	wait := rule.Wait()
	if left, ends := rule.Left(time.Now()); ends && (wait == 0 || left < wait) {
		wait = max(left, 1)
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		end = timer.C
	}
	select {
	case <-end:
	case <-rule.Over():
	case <-r.Context().Done():
	}
}

// hangUp closes the connection without an answer.
func (f *front) hangUp(w http.ResponseWriter) {
	if conn := f.hijack(w); conn != nil {
		_ = conn.Close() // that is the point
	}
}

// reset breaks the connection off: what is on its way is lost on both sides.
func (f *front) reset(w http.ResponseWriter) {
	conn := f.hijack(w)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the reset is an orderly end
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func (f *front) hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		f.log.Error("cannot hang up", "error", err)
		return nil
	}
	return conn
}

// injected is the error of a rule, in the words of the service.
func (f *front) injected(c *call.Call, rule fault.Rule) *call.Error {
	d := dialectOf(c.Service)
	switch rule.Kind {
	case fault.Error:
		return call.Errorf(rule.Code, "%s", orText(rule.Message, "A fault of the local cloud, as you asked.")).
			WithStatus(rule.StatusOf()).WithReason(rule.Reason)
	case fault.Throttle:
		return call.Errorf(d.throttled, "Request limit exceeded.").WithStatus(d.throttledStatus).WithReason(d.throttledReason)
	case fault.Unseen:
		return notSeen(c, rule)
	default: // fault.Deny
		return f.denied(c, d)
	}
}

func (f *front) denied(c *call.Call, d dialect) *call.Error {
	text := fmt.Sprintf("You are not authorized to perform this operation. User: arn:aws:iam::%s:root is not authorized to perform: %s:%s", f.account, c.Service, c.Action)
	if c.Service == "ec2" {
		text += ". Encoded authorization failure message: " + f.iam.DenialMessage(c.Service, c.Action)
	}
	return call.Errorf(d.denied, "%s", text).WithStatus(http.StatusForbidden).WithReason(d.deniedReason)
}

// notSeen says that what the call names is not there.
func notSeen(c *call.Call, rule fault.Rule) *call.Error {
	id := rule.Named()
	switch c.Service {
	case "ebs":
		return call.Errorf("ResourceNotFoundException", "The snapshot '%s' does not exist.", id).
			WithReason("SNAPSHOT_NOT_FOUND").WithStatus(http.StatusNotFound)
	case "iam":
		return call.Errorf("NoSuchEntity", "The entity with name %s cannot be found.", id).WithStatus(http.StatusNotFound)
	case "s3":
		return call.Errorf("NoSuchBucket", "The specified bucket does not exist").WithStatus(http.StatusNotFound)
	}
	prefix, _, ok := strings.Cut(id, "-")
	code, known := map[string]string{
		"ami": "InvalidAMIID.NotFound", "snap": "InvalidSnapshot.NotFound", "i": "InvalidInstanceID.NotFound",
		"vol": "InvalidVolume.NotFound", "sg": "InvalidGroup.NotFound", "vpc": "InvalidVpcID.NotFound",
		"subnet": "InvalidSubnetID.NotFound", "lt": "InvalidLaunchTemplateId.NotFound", "key": "InvalidKeyPair.NotFound",
	}[prefix]
	if !ok || !known {
		return call.Errorf("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", id)
	}
	return call.Errorf(code, "The ID '%s' does not exist", id)
}

// newlyNamed returns what finds the things in a call that were made after a
// given time: ids of any kind, and names of roles and instance profiles.
func (f *front) newlyNamed(c *call.Call) func(time.Time) []string {
	return func(since time.Time) (out []string) {
		for _, where := range []string{c.Region, store.Global} {
			_ = f.store.View(where, func(reg *store.Region) error {
				for _, value := range mentioned(c) {
					if at, ok := reg.Born(value); ok && at.After(since) {
						out = append(out, value)
					}
				}
				return nil
			})
		}
		return out
	}
}

// mentioned returns the values of a request that may name something.
func mentioned(c *call.Call) (out []string) {
	if c.Service == "ebs" || c.Service == "s3" {
		return strings.Split(c.HTTP.URL.Path, "/")
	}
	form, err := url.ParseQuery(string(c.Body))
	if err != nil {
		return nil
	}
	for _, values := range form {
		for _, v := range values {
			out = append(out, v[strings.LastIndexByte(v, '/')+1:]) // an ARN ends in the name
		}
	}
	return out
}
