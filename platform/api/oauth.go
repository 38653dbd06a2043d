// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// oauthRequest is wire.OAuthRequest as servers must take it.
type oauthRequest struct {
	GrantType    string      `json:"grant_type"`
	AccountID    number      `json:"account_id"`
	RSVersion    number      `json:"r_s_version"`
	ClientID     string      `json:"client_id"`
	ClientSecret string      `json:"client_secret"`
	RefreshToken string      `json:"refresh_token"`
	Proof        *wire.Proof `json:"proof"`
}

// grantRefresh is the grant_type of people's programs.
const grantRefresh = "refresh_token"

// firstHTTP is the first protocol version that works without AMQP.
const firstHTTP = 23

// oauth2 gives a bearer token for a token id and token, which come by HTTP
// Basic (RightLink 6) or in the body (RightLink 10), or for a proof.
func (s *Server) oauth2(w http.ResponseWriter, r *http.Request) {
	var req oauthRequest
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	if req.GrantType == grantRefresh && req.RefreshToken != "" {
		s.refresh(w, r, req)
		return
	}
	proves := req.GrantType == wire.GrantProof
	switch {
	case req.GrantType == grantRefresh:
		s.fail(w, r, &parameterError{"refresh_token is missing"})
		return
	case req.GrantType != "client_credentials" && !proves:
		s.fail(w, r, &parameterError{"grant_type must be client_credentials, refresh_token or " + wire.GrantProof})
		return
	case proves && req.Proof == nil:
		s.fail(w, r, &parameterError{"proof is missing"})
		return
	case req.RSVersion != 0 && req.RSVersion < firstHTTP:
		s.fail(w, r, &parameterError{"r_s_version " + strconv.FormatInt(int64(req.RSVersion), 10) + " needs AMQP, which this platform does not have; use RightLink 6.1 or later"})
		return
	}
	id, token := req.ClientID, req.ClientSecret
	if user, password, ok := r.BasicAuth(); ok {
		id, token = user, password
	}
	if wait := s.limit.Blocked(r, id); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		writeText(w, http.StatusTooManyRequests, "too many wrong tokens; wait")
		return
	}
	grant, err := s.login(r, id, secret.String(token), req)
	if errors.Is(err, fleet.ErrUnauthorized) {
		s.limit.Failed(r, id)
		w.Header().Set("WWW-Authenticate", `Basic realm="rightscaled"`)
		writeText(w, http.StatusUnauthorized, "invalid_client: "+err.Error())
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	host := s.host(r)
	s.writeJSON(w, r, "", wire.OAuthResponse{
		AccessToken: grant.Bearer.Reveal(), RotateKey: grant.RotateKey, ExpiresIn: int64(fleet.SessionTime / time.Second), TokenType: "bearer",
		Mode: "http", ShardID: 1, RouterURL: "https://" + host + "/router", APIURL: "https://" + host + "/api",
	})
}

// login hands token or proof to the rules.
func (s *Server) login(r *http.Request, id string, token secret.String, req oauthRequest) (grant fleet.Grant, err error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return grant, fleet.ErrUnauthorized // an id must print back as it came
	}
	if notes, ok := r.Context().Value(keyNotes).(*notes); ok {
		notes.tokenID = n
	}
	if req.GrantType == wire.GrantProof {
		return s.fleet.Prove(r.Context(), fleet.ProofRequest{TokenID: n, Account: int64(req.AccountID), Token: token, Proof: *req.Proof})
	}
	grant.Bearer, err = s.fleet.Login(r.Context(), n, int64(req.AccountID), token)
	return grant, err
}

// challenge tells an agent how to enrol and gives it a nonce.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request) {
	var req wire.ChallengeRequest
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	id, err := strconv.ParseInt(req.ClientID, 10, 64)
	if err != nil || strconv.FormatInt(id, 10) != req.ClientID {
		s.fail(w, r, &parameterError{"client_id must be the number of a token"})
		return
	}
	if notes, ok := r.Context().Value(keyNotes).(*notes); ok {
		notes.tokenID = id
	}
	challenge, err := s.fleet.Challenge(r.Context(), id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.writeJSON(w, r, "", challenge)
}
