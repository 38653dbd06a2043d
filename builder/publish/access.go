// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
)

// AccessConfig says how AWS, or something that speaks its protocol, is reached.
type AccessConfig struct {
	// The region of the image, such as `us-east-1`. With `regions` it is one
	// more of them.
	Region string `mapstructure:"region"`
	// Access key id. Without it the SDK's own chain serves: environment,
	// shared files, container or instance role.
	AccessKey string `mapstructure:"access_key"`
	// Secret access key; goes with `access_key`.
	SecretKey string `mapstructure:"secret_key"`
	// Session token of temporary credentials; goes with `access_key`.
	Token string `mapstructure:"token"`
	// Profile of the shared configuration files.
	Profile string `mapstructure:"profile"`
	// URL that serves every AWS API in every region, such as
	// `http://127.0.0.1:4566` for the local cloud. Wins over
	// `AWS_ENDPOINT_URL` and its service forms.
	EndpointURL string `mapstructure:"endpoint_url"`
	// Role to assume before any other call.
	AssumeRole AssumeRoleConfig `mapstructure:"assume_role"`
	// How often a control plane call is repeated after throttling or a network
	// error. Default 10.
	MaxRetries int `mapstructure:"max_retries"`
}

// AssumeRoleConfig names a role to assume with the credentials found.
type AssumeRoleConfig struct {
	// ARN of the role.
	RoleARN string `mapstructure:"role_arn"`
	// Name of the session in CloudTrail. Default `rightimage`.
	SessionName string `mapstructure:"session_name"`
	// External id that the role's trust policy asks for.
	ExternalID string `mapstructure:"external_id"`
}

// Secrets returns the values that must never be printed, for the caller's log
// filter.
func (c Config) Secrets() []string {
	var secrets []string
	for _, s := range []string{c.SecretKey, c.Token} {
		if s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// AWS turns the access options into the settings of the client factory.
func (c Config) AWS() awsx.Config {
	region := ""
	if t := c.Targets(); len(t) > 0 {
		region = t[0]
	}
	return awsx.Config{
		Region:      region,
		AccessKey:   c.AccessKey,
		SecretKey:   secret.String(c.SecretKey),
		Token:       secret.String(c.Token),
		Profile:     c.Profile,
		EndpointURL: c.EndpointURL,
		MaxRetries:  c.MaxRetries,
		AssumeRole:  awsx.AssumeRole(c.AssumeRole),
	}
}
