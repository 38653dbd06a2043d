// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package wire holds the types that cross the network between RightLink and
// the platform: the OAuth exchange, the boot bundle, state records and audit
// entries. It imports only the standard library, because the agent on the
// instance and the platform share it.
package wire

import "time"

// Version numbers of the protocol as the agents send them.
const (
	// APIVersion is the value of the X-API-Version header of API calls.
	APIVersion = "1.5"
	// ProtocolVersion is r_s_version; 23 was the first with HTTP only.
	ProtocolVersion = 24
)

// Names of the request headers that agents send besides Authorization.
const (
	HeaderAPIVersion  = "X-API-Version"
	HeaderRightLinkID = "X-RightLink-ID"
	HeaderLineage     = "X-Request-Lineage-Uuid"
)

// Paths below the API base https://host/api. They are what RightLink 6 calls
// in http mode.
const (
	PathOAuth2             = "/oauth2"
	PathHealthCheck        = "/health-check"
	PathSessionsInstance   = "/sessions/instance"
	PathDeclare            = "/right_net/booter/declare"
	PathBootBundle         = "/right_net/booter/get_boot_bundle"
	PathMissingAttributes  = "/right_net/booter/get_missing_attributes"
	PathDecommissionBundle = "/right_net/booter/get_decommission_bundle"
	PathRecordState        = "/right_net/state_recorder/record"
	PathAuditEntries       = "/audit_entries"
	// PathAttachments is our own choice: the original served attachments from
	// separate "repose" hosts whose token format is not public. An attachment
	// is GET <api base>/right_net/attachments/<digest> with the bundle's
	// attachment token as a Bearer token.
	PathAttachments = "/right_net/attachments/"
)

// OAuthRequest is the JSON body of the agent's POST /api/oauth2. The token id
// and token travel in the Authorization header (HTTP Basic).
type OAuthRequest struct {
	GrantType        string `json:"grant_type"`
	AccountID        int64  `json:"account_id,omitempty"`
	RSVersion        int    `json:"r_s_version,omitempty"`
	RightLinkVersion string `json:"right_link_version,omitempty"`
	ClientID         string `json:"client_id,omitempty"`
	ClientSecret     string `json:"client_secret,omitempty"`
	RefreshToken     string `json:"refresh_token,omitempty"`
	// Proof comes with GrantProof, instead of the client's secret.
	Proof *Proof `json:"proof,omitempty"`
}

// OAuthResponse is the answer; RightLink 6 needs every field.
type OAuthResponse struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	TokenType   string `json:"token_type"`
	Mode        string `json:"mode"` // always "http"
	ShardID     int64  `json:"shard_id"`
	RouterURL   string `json:"router_url"`
	APIURL      string `json:"api_url"`
	// RotateKey asks an attested agent to propose a new key with its next proof.
	RotateKey bool `json:"rotate_key,omitempty"`
}

// DeclareRequest announces an agent that has just started.
type DeclareRequest struct {
	RSVersion        int    `json:"r_s_version"`
	RightLinkVersion string `json:"right_link_version"`
	// ResourceUID is the cloud's instance id, such as i-0123456789abcdef0.
	ResourceUID string `json:"resource_uid"`
	// Our additions; a server that does not know them ignores them.
	Cloud            string   `json:"cloud,omitempty"`
	ImageUID         string   `json:"image_uid,omitempty"`
	PublicAddresses  []string `json:"public_ip_addresses,omitempty"`
	PrivateAddresses []string `json:"private_ip_addresses,omitempty"`
}

// DeclareResponse carries the agent id, rs-instance-<40 hex>-<token id>.
type DeclareResponse struct {
	AgentID string `json:"agent_id"`
}

// Link is an entry of a resource's links.
type Link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
}

// Instance is what GET /api/sessions/instance answers, as far as the agent
// reads it; the link with rel "self" is the agent's self href.
type Instance struct {
	Name        string `json:"name"`
	ResourceUID string `json:"resource_uid"`
	State       string `json:"state"`
	Links       []Link `json:"links"`
}

// Href returns the href of the first link with the given rel, or "".
func (i Instance) Href(rel string) string {
	for _, l := range i.Links {
		if l.Rel == rel {
			return l.Href
		}
	}
	return ""
}

// Run states that an agent reports. The first report comes from StatePending.
const (
	StatePending         = "pending"
	StateBooting         = "booting"
	StateOperational     = "operational"
	StateStranded        = "stranded"
	StateDecommissioning = "decommissioning"
	StateDecommissioned  = "decommissioned"
	StateTerminated      = "terminated"
	StateInactive        = "inactive"
)

// Kinds of a shutdown, sent with StateDecommissioned.
const (
	KindReboot    = "reboot"
	KindStop      = "stop"
	KindTerminate = "terminate"
)

// StateRecord is the body of PUT /api/right_net/state_recorder/record.
type StateRecord struct {
	State     string `json:"state"`
	FromState string `json:"from_state,omitempty"`
	Kind      string `json:"kind,omitempty"` // with StateDecommissioned
}

// AuditEntry is the body of POST /api/audit_entries; the answer is 201 with
// Location /api/audit_entries/<id>.
type AuditEntry struct {
	Entry     AuditEntryFields `json:"audit_entry"`
	UserEmail string           `json:"user_email,omitempty"`
	Notify    string           `json:"notify,omitempty"` // None, Notification, Security, Error
}

// AuditEntryFields are the fields of a new audit entry.
type AuditEntryFields struct {
	AuditeeHref string `json:"auditee_href"`
	Summary     string `json:"summary"` // at most MaxSummary bytes
	Detail      string `json:"detail,omitempty"`
}

// AuditAppend is the body of POST /api/audit_entries/:id/append. Offset is the
// position of Detail in the whole detail text, in bytes, so that a repeated
// append after a lost answer does not double the text.
type AuditAppend struct {
	Summary string `json:"summary,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Offset  int64  `json:"offset"`
	Notify  string `json:"notify,omitempty"`
}

// MaxSummary is the limit of an audit summary in bytes; a longer one is cut
// and ends with "...".
const MaxSummary = 255

// TimeFormat is how API 1.5 writes times.
const TimeFormat = "2006/01/02 15:04:05 -0700"

// FormatTime writes t in UTC as API 1.5 does.
func FormatTime(t time.Time) string { return t.UTC().Format(TimeFormat) }
