// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Error is a call that did not succeed.
type Error struct {
	Method, Path string
	// Status is the answer's code, 0 when there was no answer.
	Status     int
	Body       string
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string {
	call := e.Method + " " + e.Path
	if e.Status == noStatus {
		return fmt.Sprintf("%s: %v", call, e.Err)
	}
	text := fmt.Sprintf("%s: the platform answered %d %s", call, e.Status, http.StatusText(e.Status))
	if e.Body != "" {
		text += ": " + e.Body
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of an error of this package. A request without an
// answer counts as not responding, an answer that makes no sense as refused.
func ClassOf(err error) Class {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.Is(err, errBadAnswer) || !errors.As(err, &e):
		return Refused
	}
	return Classify(e.Status)
}

// RetryAfter is how long the platform asked to be left alone, 0 if it did not.
func RetryAfter(err error) time.Duration { return retryAfterOf(err) }

// Denied tells if the platform did not accept this agent's token, and would not
// give it another.
func Denied(err error) bool {
	class := ClassOf(err)
	return class == Unauthorized || class == Expired
}

func retryAfterOf(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// recordedState finds the state in the text of a refused state record. The
// exact text of the original platform is not public.
var recordedState = regexp.MustCompile(`(?i)recorded[ _-]state\b[^a-z]*(?:(?:is|was|of|being|as)\b)?[^a-z]*(pending|booting|operational|stranded|decommissioning|decommissioned|terminated|inactive)`)

// RecordedState returns the state that the platform says is recorded now, if
// the error tells.
func RecordedState(err error) (string, bool) {
	var e *Error
	if !errors.As(err, &e) || e.Body == "" {
		return "", false
	}
	var fields struct {
		RecordedState string `json:"recorded_state"`
	}
	if json.Unmarshal([]byte(e.Body), &fields) == nil && fields.RecordedState != "" {
		return fields.RecordedState, true
	}
	if m := recordedState.FindStringSubmatch(e.Body); m != nil {
		return strings.ToLower(m[1]), true
	}
	return "", false
}

// parseRetryAfter reads both forms of the header.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
		return min(max(0, time.Duration(seconds)*time.Second), maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
