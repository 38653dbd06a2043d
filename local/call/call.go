// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package call holds what the services of the local cloud share: one incoming
// API call, the error that answers it, and its signature.
package call

import (
	"fmt"
	"net/http"

	"github.com/google/uuid"
)

// Call is one API request after its signature was read.
type Call struct {
	Service   string // from the credential scope: "ec2", "ebs", "sts"
	Region    string // from the credential scope
	AccessKey string
	Action    string // such as "RegisterImage" or "PutSnapshotBlock"
	RequestID string
	Host      string // as the client named this server
	Body      []byte
	HTTP      *http.Request
}

// NewRequestID makes the identifier that every answer carries.
func NewRequestID() string { return uuid.NewString() }

// Error is a refusal in the words of the service. Code is what SDKs branch on.
type Error struct {
	Status  int // HTTP status
	Code    string
	Message string
	Reason  string // only the EBS direct API has reasons
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error with status 400, which is what most refusals have.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithStatus sets the HTTP status.
func (e *Error) WithStatus(status int) *Error {
	e.Status = status
	return e
}

// WithReason sets the reason of an EBS direct error.
func (e *Error) WithReason(reason string) *Error {
	e.Reason = reason
	return e
}
