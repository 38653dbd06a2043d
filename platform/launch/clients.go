// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/seal"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// Clients makes the clients of clouds and keeps them while the cloud is the
// same, since a role is assumed for an hour.
type Clients struct {
	keys  *seal.Keys
	mu    sync.Mutex
	known map[int64]known
}

type known struct {
	updated time.Time
	factory *awsx.Factory
}

// NewClients makes Clients that open sealed credentials with the keys.
func NewClients(keys *seal.Keys) *Clients {
	return &Clients{keys: keys, known: map[int64]known{}}
}

// ErrNoCredentials says that the platform cannot act in a cloud.
var ErrNoCredentials = errors.New("no cloud credentials")

// noCredentials is for people: what is missing, and what to do.
func noCredentials(what string) error {
	return fmt.Errorf("%w: %w", ErrNoCredentials, &fleet.InvalidError{Text: what})
}

// EC2 returns the client of a cloud. It may ask the cloud for a session, so
// that it must not be called in a transaction. Calls are not repeated: each
// caller knows better when to try again.
func (c *Clients) EC2(ctx context.Context, cloud store.Cloud) (*ec2.Client, error) {
	f, err := c.Factory(ctx, cloud)
	if err != nil {
		return nil, err
	}
	return f.EC2(cloud.Region), nil
}

// Factory returns what makes the clients of a cloud.
func (c *Clients) Factory(ctx context.Context, cloud store.Cloud) (*awsx.Factory, error) {
	c.mu.Lock()
	have, ok := c.known[cloud.ID]
	c.mu.Unlock()
	if ok && cloud.ID != 0 && have.updated.Equal(cloud.UpdatedAt) {
		return have.factory, nil
	}
	config, err := c.config(cloud)
	if err != nil {
		return nil, err
	}
	factory, err := awsx.New(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("cloud %q: %w", cloud.Name, err)
	}
	if cloud.ID != 0 {
		c.mu.Lock()
		c.known[cloud.ID] = known{cloud.UpdatedAt, factory}
		c.mu.Unlock()
	}
	return factory, nil
}

// keyPair is what lies sealed beside a cloud.
type keyPair struct {
	SecretKey string `json:"secret_key"`
	Token     string `json:"token,omitempty"`
}

func (c *Clients) config(cloud store.Cloud) (awsx.Config, error) {
	config := awsx.Config{
		Region: cloud.Region, EndpointURL: cloud.EndpointURL, MaxRetries: 2,
		AssumeRole: awsx.AssumeRole{RoleARN: cloud.RoleARN, ExternalID: cloud.ExternalID, SessionName: "rightscaled"},
	}
	switch cloud.Credentials {
	case store.CredentialsAmbient:
		return config, nil
	case store.CredentialsKeys:
		plain, err := c.keys.Open(keyPlace(cloud), cloud.Sealed)
		if err != nil {
			return config, fmt.Errorf("credentials of cloud %q: %w", cloud.Name, err)
		}
		var pair keyPair
		if err := json.Unmarshal([]byte(plain), &pair); err != nil {
			return config, fmt.Errorf("credentials of cloud %q: %w", cloud.Name, err)
		}
		config.AccessKey, config.SecretKey, config.Token = cloud.AccessKey, secret.String(pair.SecretKey), secret.String(pair.Token)
		return config, nil
	}
	return config, noCredentials(fmt.Sprintf("cloud %q has no credentials; \"rightscaled cloud add\" makes one that has", cloud.Name))
}

// sealKeys encrypts a secret key for a cloud.
func (c *Clients) sealKeys(cloud store.Cloud, secretKey, token secret.String) ([]byte, error) {
	raw, err := json.Marshal(keyPair{secretKey.Reveal(), token.Reveal()})
	if err != nil {
		return nil, err
	}
	return c.keys.Seal(keyPlace(cloud), string(raw)), nil
}

func keyPlace(cloud store.Cloud) string {
	return fmt.Sprintf("cloud key %d/%s", cloud.AccountID, cloud.AccessKey)
}
