// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import "encoding/json"

// RouterVersion is the value of the X-API-Version header of router calls.
const RouterVersion = "2.0"

// Paths below the router base https://host/router.
const (
	PathConnect = "/connect" // WebSocket
	PathListen  = "/listen"  // long poll
	PathRequest = "/request"
	PathPush    = "/push"
	PathNotify  = "/notify"
)

// More paths below the API base.
const (
	PathRepositories   = "/right_net/booter/get_repositories"
	PathLoginPolicy    = "/right_net/booter/get_login_policy"
	PathScheduleScript = "/right_net/scheduler/schedule_right_script"
	PathBundleScript   = "/right_net/scheduler/bundle_right_script" // RightLink 6's name
	PathShutdown       = "/right_net/scheduler/shutdown"
	PathTagsAdd        = "/tags/multi_add"
	PathTagsDelete     = "/tags/multi_delete"
	PathTagsByResource = "/tags/by_resource"
	PathTagsByTag      = "/tags/by_tag"
)

// Actors of the agent: what an event asks it to do.
const (
	ActorScheduleBundle       = "/instance_scheduler/schedule_bundle"       // data: ExecutableBundle
	ActorExecute              = "/instance_scheduler/execute"               // the same
	ActorScheduleDecommission = "/instance_scheduler/schedule_decommission" // data: Decommission
	ActorLoginPolicy          = "/instance_services/update_login_policy"    // data: LoginPolicy
	ActorReboot               = "/instance_services/reboot"
	ActorRestart              = "/instance_services/restart"
	ActorReenroll             = "/instance_services/reenroll"
)

// Kinds of events.
const (
	EventPush    = "Push"
	EventRequest = "Request"
)

// Event is what the router hands to an agent. The agent answers {"ack": uuid}
// once it has taken it; until then it may come again.
type Event struct {
	UUID      string          `json:"uuid"`
	Type      string          `json:"type"`
	Path      string          `json:"path"`
	From      string          `json:"from"`
	Data      json.RawMessage `json:"data,omitempty"`
	ExpiresAt int64           `json:"expires_at"` // Unix seconds
	SkewedBy  int64           `json:"skewed_by"`
	ReplyTo   string          `json:"reply_to,omitempty"`
	Tries     []string        `json:"tries"`
}

// Ack is what an agent answers to an event.
type Ack struct {
	Ack string `json:"ack"`
}

// Decommission is the data of ActorScheduleDecommission.
type Decommission struct {
	Kind         string `json:"kind"`
	UserID       int64  `json:"user_id,omitempty"`
	SkipDBUpdate bool   `json:"skip_db_update,omitempty"`
}

// RouterMessage is the body of the router's request, push and notify.
type RouterMessage struct {
	Type    string          `json:"type"` // an actor, or "Result"
	Payload json.RawMessage `json:"payload,omitempty"`
	Target  any             `json:"target,omitempty"`
	From    string          `json:"from,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// ScheduleRequest asks to run an operational script on the asking instance.
type ScheduleRequest struct {
	RightScript   string            `json:"right_script,omitempty"`
	RightScriptID string            `json:"right_script_id,omitempty"`
	Arguments     map[string]string `json:"arguments,omitempty"` // 2.0 form, such as text:b
	Thread        string            `json:"thread,omitempty"`
	Policy        string            `json:"policy,omitempty"`
	AuditPeriod   int               `json:"audit_period,omitempty"`
}

// TagsRequest is the body of the four calls about tags.
type TagsRequest struct {
	ResourceHrefs         []string `json:"resource_hrefs,omitempty"`
	Tags                  []string `json:"tags,omitempty"`
	ResourceType          string   `json:"resource_type,omitempty"`
	MatchAll              string   `json:"match_all,omitempty"` // "true" or "false"
	IncludeTagsWithPrefix string   `json:"include_tags_with_prefix,omitempty"`
	WithDeleted           string   `json:"with_deleted,omitempty"`
}

// TaggedResource is one item of the answer to a question about tags.
type TaggedResource struct {
	Links   []Link              `json:"links"`
	Actions []map[string]string `json:"actions"`
	Tags    []Tag               `json:"tags"`
}

// Tag is a tag in an answer.
type Tag struct {
	Name string `json:"name"`
}

// Href is the href of the tagged resource.
func (t TaggedResource) Href() string {
	for _, l := range t.Links {
		if l.Rel == "resource" {
			return l.Href
		}
	}
	return ""
}

const (
	classRepositories = "RightScale::RepositoriesBundle"
	classLoginPolicy  = "RightScale::LoginPolicy"
	classLoginUser    = "RightScale::LoginUser"
)

// RepositoriesBundle has no repositories; an agent of RightLink 6 asks for it
// to learn the audit entry of its boot.
type RepositoriesBundle struct{ AuditID int64 }

// MarshalJSON writes the positional form.
func (b RepositoriesBundle) MarshalJSON() ([]byte, error) {
	return encodePositional(classRepositories, []any{}, b.AuditID)
}

// LoginPolicy says who may log in to an instance. With Exclusive, nobody else.
type LoginPolicy struct {
	AuditID   int64
	CreatedAt int64 // Unix seconds
	Exclusive bool
	Users     []LoginUser
}

// LoginUser is one person of a LoginPolicy.
type LoginUser struct {
	UUID       int64
	Username   string
	CommonName string
	Superuser  bool
	ExpiresAt  int64 // Unix seconds, 0 for never
	PublicKeys []string
}

// MarshalJSON writes the positional form.
func (p LoginPolicy) MarshalJSON() ([]byte, error) {
	users := p.Users
	if users == nil {
		users = []LoginUser{}
	}
	return encodePositional(classLoginPolicy, p.AuditID, p.CreatedAt, p.Exclusive, users)
}

// UnmarshalJSON reads the positional form.
func (p *LoginPolicy) UnmarshalJSON(raw []byte) error {
	return decodePositional(raw, classLoginPolicy, &p.AuditID, &p.CreatedAt, &p.Exclusive, &p.Users)
}

// MarshalJSON writes the positional form; a key alone has a position of its own.
func (u LoginUser) MarshalJSON() ([]byte, error) {
	keys := u.PublicKeys
	if keys == nil {
		keys = []string{}
	}
	var first, expires any
	if len(keys) > 0 {
		first = keys[0]
	}
	if u.ExpiresAt > 0 {
		expires = u.ExpiresAt
	}
	return encodePositional(classLoginUser, u.UUID, u.Username, first, u.CommonName, u.Superuser, expires, keys, nil, []string{})
}

// UnmarshalJSON reads the positional form, also one with a key alone.
func (u *LoginUser) UnmarshalJSON(raw []byte) error {
	var key string
	err := decodePositional(raw, classLoginUser, &u.UUID, &u.Username, &key, &u.CommonName, &u.Superuser, &u.ExpiresAt, &u.PublicKeys)
	if len(u.PublicKeys) == 0 && key != "" {
		u.PublicKeys = []string{key}
	}
	return err
}
