// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/ebs"
	"github.com/rightimage/packer-plugin-rightimage/local/ec2"
	"github.com/rightimage/packer-plugin-rightimage/local/iam"
	"github.com/rightimage/packer-plugin-rightimage/local/s3"
	"github.com/rightimage/packer-plugin-rightimage/local/ssm"
)

// Services names what this cloud has, for people.
const Services = "ec2, ebs, iam, sts, ssm and s3"

// dialect is how a service of AWS speaks: where the action stands in a request,
// what an error looks like, and the codes of the errors that all services have.
type dialect struct {
	action     func(*call.Call) string
	writeError func(http.ResponseWriter, *call.Call, *call.Error)

	throttled       string
	throttledStatus int
	throttledReason string
	denied          string
	deniedReason    string

	notSigned string
	malformed string
	unknown   string
	mismatch  string
	expired   string
}

func formAction(c *call.Call) string { return ec2.Action(c.Body, c.HTTP.URL.Query()) }

// dialectOf returns the dialect of a service, EC2's for one that is not there.
func dialectOf(service string) dialect {
	switch service {
	case "ebs":
		return dialect{
			action:     func(c *call.Call) string { return ebs.Action(c.HTTP.Method, c.HTTP.URL.Path) },
			writeError: func(w http.ResponseWriter, c *call.Call, e *call.Error) { ebs.WriteError(w, c.RequestID, e) },
			throttled:  "RequestThrottledException", throttledStatus: http.StatusBadRequest, throttledReason: "ACCOUNT_THROTTLED",
			denied: "AccessDeniedException", deniedReason: "UNAUTHORIZED_ACCOUNT",
			notSigned: "MissingAuthenticationTokenException", malformed: "IncompleteSignatureException",
			unknown: "UnrecognizedClientException", mismatch: "InvalidSignatureException", expired: "InvalidSignatureException",
		}
	case "iam", "sts":
		return dialect{
			action: formAction, writeError: iam.WriteError,
			throttled: "Throttling", throttledStatus: http.StatusBadRequest, denied: "AccessDenied",
			notSigned: "MissingAuthenticationToken", malformed: "IncompleteSignature",
			unknown: "InvalidClientTokenId", mismatch: "SignatureDoesNotMatch", expired: "ExpiredToken",
		}
	case "ssm", "ec2-instance-connect":
		return dialect{
			action:     func(c *call.Call) string { return ssm.Action(c.HTTP.Header) },
			writeError: ssm.WriteError,
			throttled:  "ThrottlingException", throttledStatus: http.StatusBadRequest, denied: "AccessDeniedException",
			notSigned: "MissingAuthenticationTokenException", malformed: "IncompleteSignatureException",
			unknown: "UnrecognizedClientException", mismatch: "InvalidSignatureException", expired: "ExpiredTokenException",
		}
	case "s3":
		return dialect{
			action: s3.Action, writeError: s3.WriteError,
			throttled: "SlowDown", throttledStatus: http.StatusServiceUnavailable, denied: "AccessDenied",
			notSigned: "AccessDenied", malformed: "AuthorizationHeaderMalformed",
			unknown: "InvalidAccessKeyId", mismatch: "SignatureDoesNotMatch", expired: "RequestTimeTooSkewed",
		}
	}
	return dialect{
		action:     formAction,
		writeError: func(w http.ResponseWriter, c *call.Call, e *call.Error) { ec2.WriteError(w, c.RequestID, e) },
		throttled:  "RequestLimitExceeded", throttledStatus: http.StatusServiceUnavailable, denied: "UnauthorizedOperation",
		notSigned: "MissingAuthenticationToken", malformed: "IncompleteSignature",
		unknown: "AuthFailure", mismatch: "AuthFailure", expired: "RequestExpired",
	}
}

// authError is a refused signature in the words of the service.
func authError(service string, err error) *call.Error {
	d := dialectOf(service)
	status := http.StatusForbidden
	if d.unknown == "AuthFailure" {
		status = http.StatusUnauthorized
	}
	switch {
	case errors.Is(err, call.ErrNotSigned):
		return call.Errorf(d.notSigned, "Missing Authentication Token: the request must contain a SigV4 Authorization header").WithStatus(http.StatusForbidden)
	case errors.Is(err, call.ErrMalformed):
		return call.Errorf(d.malformed, "The Authorization header does not conform to SigV4")
	case errors.Is(err, call.ErrUnknown):
		return call.Errorf(d.unknown, "The access key or the security token included in the request is invalid.").WithStatus(status)
	case errors.Is(err, call.ErrExpired):
		return call.Errorf(d.expired, "The signature or the session has expired, or is not yet valid. Check the clock of this computer.")
	}
	return call.Errorf(d.mismatch, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.").
		WithStatus(status)
}

// maxBody holds a snapshot block, a request with full user-data, or an object.
const maxBody = 64 << 20

// readBody reads a request to its end, without growing buffers for what says
// how long it is: most requests are blocks of 512 KiB.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	var body []byte
	var err error
	if r.ContentLength > 0 && r.ContentLength <= maxBody {
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(limited, body)
	} else {
		body, err = io.ReadAll(limited)
	}
	if err != nil {
		return nil, fmt.Errorf("the request is not readable or larger than %d bytes: %w", maxBody, err)
	}
	return body, nil
}

func orText(s, absent string) string {
	if s == "" {
		return absent
	}
	return s
}
