// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package iam

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) stsActions() map[string]handler {
	return map[string]handler{
		"GetCallerIdentity":          s.getCallerIdentity,
		"AssumeRole":                 s.assumeRole,
		"DecodeAuthorizationMessage": s.decodeMessage,
	}
}

// temporary begins the access keys that AssumeRole gives out, as on AWS.
const temporary = "ASIA"

// session is what a session token says.
type session struct {
	RoleID  string    `json:"role_id"`
	ARN     string    `json:"arn"` // of the assumed role
	Name    string    `json:"name"`
	Expires time.Time `json:"expires"`
}

func (s *Service) getCallerIdentity(r *request) (any, error) {
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := struct {
		Arn     string
		UserID  string `xml:"UserId"`
		Account string
	}{"arn:aws:iam::" + s.Account + ":root", s.Account, s.Account}
	if as, err := s.session(r.Call); err == nil {
		out.Arn, out.UserID = as.ARN, as.RoleID+":"+as.Name
	}
	return out, nil
}

// assumeRole gives out temporary credentials when the role's trust policy lets
// this account take it on.
func (s *Service) assumeRole(r *request) (any, error) {
	arn := r.need("RoleArn")
	name := r.matching("RoleSessionName", `[\w+=,.@-]{2,64}`)
	lasts := time.Duration(r.number("DurationSeconds", 3600, 900, 43200)) * time.Second
	externalID := r.str("ExternalId")
	if err := r.checked(); err != nil {
		return nil, err
	}
	role, ok := s.roleByARN(arn)
	if !ok || !s.trusts(role, externalID) {
		return nil, call.Errorf("AccessDenied", "User: arn:aws:iam::%s:root is not authorized to perform: sts:AssumeRole on resource: %s", s.Account, arn).
			WithStatus(http.StatusForbidden)
	}
	if longest := time.Duration(role.MaxSession) * time.Second; lasts > longest {
		return nil, invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	as := session{
		RoleID: role.ID, Name: name, Expires: s.Store.Now().Add(lasts).UTC().Truncate(time.Second),
		ARN: fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", s.Account, role.Name, name),
	}
	text, err := json.Marshal(as)
	if err != nil {
		return nil, fmt.Errorf("make session token: %w", err)
	}
	key := temporary + rand.Text()[:16]
	return assumed{
		key, s.Secret(key).Reveal(), s.Store.Token(sessionScope(key), string(text)), stamp(as.Expires), as.ARN, as.RoleID + ":" + name,
	}, nil
}

type assumed struct {
	AccessKey string `xml:"Credentials>AccessKeyId"`
	Secret    string `xml:"Credentials>SecretAccessKey"`
	Token     string `xml:"Credentials>SessionToken"`
	Expires   string `xml:"Credentials>Expiration"`
	ARN       string `xml:"AssumedRoleUser>Arn"`
	ID        string `xml:"AssumedRoleUser>AssumedRoleId"`
}

func sessionScope(accessKey string) string { return "session/" + accessKey }

// Secret is the secret key of a temporary access key: it follows from the key
// and the state directory, so that nothing need be kept. Other keys have none.
func (s *Service) Secret(accessKey string) secret.String {
	if !strings.HasPrefix(accessKey, temporary) {
		return ""
	}
	return secret.String(s.Store.Token("secret/"+accessKey, "")[:24] + s.Store.Token("secret2/"+accessKey, "")[:16])
}

// Verify refuses a call with temporary credentials whose session token is
// wrong or has expired; the signature is checked elsewhere.
func (s *Service) Verify(c *call.Call) error {
	if !strings.HasPrefix(c.AccessKey, temporary) {
		return nil
	}
	as, err := s.session(c)
	if err == nil && !s.Store.Now().Before(as.Expires) {
		return call.ErrExpired
	}
	return err
}

func (s *Service) session(c *call.Call) (as session, err error) {
	text, ok := s.Store.OpenToken(sessionScope(c.AccessKey), c.HTTP.Header.Get("X-Amz-Security-Token"))
	if !ok || json.Unmarshal([]byte(text), &as) != nil {
		return as, call.ErrUnknown
	}
	return as, nil
}

func (s *Service) roleByARN(arn string) (role store.Role, ok bool) {
	_ = s.view(func(reg *store.Region) error {
		role, ok = reg.Roles.Get(arn[strings.LastIndexByte(arn, '/')+1:])
		return nil
	})
	return role, ok && role.ARN(s.Account) == arn
}

// trusts tells whether the trust policy lets the account's root take on the
// role. Of conditions it knows the external id; any other is not fulfilled.
func (s *Service) trusts(role store.Role, externalID string) bool {
	list, err := statements(role.Trust)
	if err != nil {
		return false
	}
	allowed := false
	for _, st := range list {
		if !slices.ContainsFunc(st.Action, func(a string) bool { return a == "*" || a == "sts:*" || a == "sts:AssumeRole" }) ||
			!s.names(st.Principal) || !fulfilled(st.Condition, externalID) {
			continue
		}
		if st.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// names tells whether a principal includes the account.
func (s *Service) names(principal json.RawMessage) bool {
	var kinds map[string]texts
	if json.Unmarshal(principal, &kinds) != nil {
		var all string
		return json.Unmarshal(principal, &all) == nil && all == "*"
	}
	return slices.ContainsFunc(kinds["AWS"], func(who string) bool {
		return who == "*" || who == s.Account || who == "arn:aws:iam::"+s.Account+":root"
	})
}

func fulfilled(conditions map[string]map[string]texts, externalID string) bool {
	for operator, keys := range conditions {
		for key, values := range keys {
			if operator != "StringEquals" || key != "sts:ExternalId" || !slices.Contains(values, externalID) {
				return false
			}
		}
	}
	return true
}

// denial is the scope of the messages that decodeMessage reads.
const denial = "authorization-message"

// DenialMessage makes the encoded message of a refused call, for decodeMessage.
func (s *Service) DenialMessage(service, action string) string {
	text, err := json.Marshal(map[string]any{
		"allowed": false, "explicitDeny": true, "matchedStatements": map[string]any{"items": []any{}}, "failures": map[string]any{"items": []any{}},
		"context": map[string]any{
			"principal": map[string]string{"id": s.Account, "arn": "arn:aws:iam::" + s.Account + ":root"},
			"action":    service + ":" + action, "resource": "*", "conditions": map[string]any{"items": []any{}},
		},
	})
	if err != nil {
		return "" // strings and lists always marshal
	}
	return s.Store.Token(denial, string(text))
}

func (s *Service) decodeMessage(r *request) (any, error) {
	message := r.need("EncodedMessage")
	if err := r.checked(); err != nil {
		return nil, err
	}
	text, ok := s.Store.OpenToken(denial, message)
	if !ok {
		return nil, call.Errorf("InvalidAuthorizationMessageException", "Message is not valid")
	}
	return struct{ DecodedMessage string }{text}, nil
}
