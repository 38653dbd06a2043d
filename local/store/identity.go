// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package store

import "time"

// Role is an IAM role. Roles and instance profiles lie in the region Global.
type Role struct {
	Name        string            `json:"name"`
	ID          string            `json:"id"`
	Path        string            `json:"path"`
	Description string            `json:"description,omitempty"`
	Trust       string            `json:"assume_role_policy"`
	MaxSession  int64             `json:"max_session_duration"`
	Boundary    string            `json:"permissions_boundary,omitempty"`
	Policies    map[string]string `json:"policies,omitempty"` // inline, by name
	Attached    []string          `json:"attached,omitempty"` // ARNs of managed policies
	Tags        map[string]string `json:"tags,omitempty"`
	Created     time.Time         `json:"created"`
}

// ARN names the role.
func (r Role) ARN(account string) string {
	return "arn:aws:iam::" + account + ":role" + r.Path + r.Name
}

// InstanceProfile gives an instance a role.
type InstanceProfile struct {
	Name    string            `json:"name"`
	ID      string            `json:"id"`
	Path    string            `json:"path"`
	Role    string            `json:"role,omitempty"` // at most one, as on AWS
	Tags    map[string]string `json:"tags,omitempty"`
	Created time.Time         `json:"created"`
}

// ARN names the instance profile.
func (p InstanceProfile) ARN(account string) string {
	return "arn:aws:iam::" + account + ":instance-profile" + p.Path + p.Name
}
