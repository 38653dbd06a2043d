// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsx is the one door to the cloud: it alone builds AWS clients, so
// that region, endpoint, retries, proxy, connection pool, role and user agent
// are decided in one place and hold for every service and every region.
package awsx

import "github.com/rightimage/packer-plugin-rightimage/internal/secret"

// Config says how the cloud is reached. The zero value takes everything from
// the environment and the shared configuration files, as the AWS tools do.
type Config struct {
	// Region is the home region: the one of STS, and the default of clients.
	Region string
	// AccessKey, SecretKey and Token are static credentials.
	AccessKey string
	SecretKey secret.String
	Token     secret.String
	// Profile is a profile of the shared configuration files.
	Profile string
	// EndpointURL serves every API in every region. It wins over
	// AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_<SERVICE>.
	EndpointURL string
	// AssumeRole is a role to assume before any other call.
	AssumeRole AssumeRole
	// MaxRetries is how often a control plane call is repeated; 0 means 10.
	MaxRetries int
	// PoolSize is how many idle connections are kept per host; 0 means 64.
	PoolSize int
}

// AssumeRole names a role to assume with the credentials found. The zero value
// assumes none.
type AssumeRole struct {
	RoleARN     string
	SessionName string
	ExternalID  string
}
