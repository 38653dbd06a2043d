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
	GrantType    string `json:"grant_type"`
	AccountID    number `json:"account_id"`
	RSVersion    number `json:"r_s_version"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// firstHTTP is the first protocol version that works without AMQP.
const firstHTTP = 23

// oauth2 gives a bearer token for a token id and token, which come by HTTP
// Basic (RightLink 6) or in the body (RightLink 10).
func (s *Server) oauth2(w http.ResponseWriter, r *http.Request) {
	var req oauthRequest
	if err := readBody(r, &req); err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case req.GrantType != "client_credentials":
		s.fail(w, r, &parameterError{"grant_type must be client_credentials"})
		return
	case req.RSVersion != 0 && req.RSVersion < firstHTTP:
		s.fail(w, r, &parameterError{"r_s_version " + strconv.FormatInt(int64(req.RSVersion), 10) + " needs AMQP, which this platform does not have; use RightLink 6.1 or later"})
		return
	}
	id, token := req.ClientID, req.ClientSecret
	if user, password, ok := r.BasicAuth(); ok {
		id, token = user, password
	}
	if wait := s.limit.blocked(r, id); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		writeText(w, http.StatusTooManyRequests, "too many wrong tokens; wait")
		return
	}
	bearer, err := s.login(r, id, int64(req.AccountID), secret.String(token))
	if errors.Is(err, fleet.ErrUnauthorized) {
		s.limit.failed(r, id)
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
		AccessToken: bearer.Reveal(), ExpiresIn: int64(fleet.SessionTime / time.Second), TokenType: "bearer",
		Mode: "http", ShardID: 1, RouterURL: "https://" + host + "/router", APIURL: "https://" + host + "/api",
	})
}

func (s *Server) login(r *http.Request, id string, account int64, token secret.String) (secret.String, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != id {
		return "", fleet.ErrUnauthorized // an id must print back as it came
	}
	if notes, ok := r.Context().Value(keyNotes).(*notes); ok {
		notes.tokenID = n
	}
	return s.fleet.Login(r.Context(), n, account, token)
}
