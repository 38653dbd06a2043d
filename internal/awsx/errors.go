// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx

import (
	"cmp"
	"errors"
	"fmt"
)

// ErrNoCredentials says that nothing to sign requests with was found.
var ErrNoCredentials = errors.New("no AWS credentials")

// Error is a failed call with what a person can do about it.
type Error struct {
	Op     string
	Region string
	Class  ErrorClass
	Hint   string
	Err    error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%s in %s: %v", e.Op, e.Region, e.Err)
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Explain says what was attempted where, and adds the remedy that its class
// allows to name. It returns nil for nil.
func (f *Factory) Explain(op, region string, err error) error {
	if err == nil {
		return nil
	}
	class := Class(err)
	return &Error{Op: op, Region: region, Class: class, Hint: f.hint(class, region), Err: err}
}

func (f *Factory) hint(class ErrorClass, region string) string {
	switch class {
	case Denied:
		return "the credentials are wrong, expired or lack the permission: check access_key, secret_key, token, profile or assume_role, " +
			"the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, the IAM policy, and this machine's clock"
	case Network:
		where := cmp.Or(f.Endpoint(region), "the AWS endpoint of "+region)
		return where + " gives no answer that helps: check endpoint_url, AWS_ENDPOINT_URL, HTTPS_PROXY, NO_PROXY, and that the service is up"
	case Quota:
		return "a quota of the account is used up: delete what is not needed, or ask AWS for more in Service Quotas"
	case Throttled:
		return "the account makes too many requests: raise max_retries, lower upload_concurrency, or build less at a time"
	default:
		return ""
	}
}

// credentialsError names every way to give credentials.
func credentialsError(c Config, err error) error {
	how := "set access_key and secret_key, or profile; or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; or run with an instance role"
	if c.AssumeRole.RoleARN != "" {
		how = fmt.Sprintf("check assume_role.role_arn %q, its trust policy and external_id; else %s", c.AssumeRole.RoleARN, how)
	} else if c.Profile != "" {
		how = fmt.Sprintf("profile %q gave none; else %s", c.Profile, how)
	}
	return fmt.Errorf("%w: %s: %w", ErrNoCredentials, how, err)
}
