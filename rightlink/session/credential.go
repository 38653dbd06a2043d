// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"net/http"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
)

// Ask posts a question to the platform that is about to be asked for an access
// token, without any authorisation. Its errors are *Error.
type Ask func(ctx context.Context, path string, in, out any) error

// Credential says how this agent proves who it is. It is asked anew for every
// access token, and once more for each platform that a redirect leads to.
type Credential interface {
	Grant(ctx context.Context, ask Ask) (Grant, error)
}

// Grant is one request for an access token. The session fills in what is the
// same for all: account and versions.
type Grant struct {
	Authorization string
	Body          wire.OAuthRequest
	// Accepted is told of the platform's consent; nil for nobody.
	Accepted func(wire.OAuthResponse)
}

// tokenCredential shows the token of the identity each time, as RightLink 6
// does.
type tokenCredential struct{ id identity.Identity }

// Grant makes the original's request.
func (t tokenCredential) Grant(context.Context, Ask) (Grant, error) { return TokenGrant(t.id), nil }

// TokenGrant is the original's request: id and token as HTTP Basic.
func TokenGrant(id identity.Identity) Grant {
	return Grant{Authorization: Basic(id), Body: wire.OAuthRequest{GrantType: "client_credentials"}}
}

// Basic is the Authorization header with token id and token.
func Basic(id identity.Identity) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(id.ClientID, id.ClientSecret.Reveal())
	return r.Header.Get("Authorization")
}
