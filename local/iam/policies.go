// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package iam

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) policyActions() map[string]handler {
	return map[string]handler{
		"PutRolePolicy":            s.putRolePolicy,
		"GetRolePolicy":            s.getRolePolicy,
		"DeleteRolePolicy":         s.deleteRolePolicy,
		"ListRolePolicies":         s.listRolePolicies,
		"AttachRolePolicy":         s.attachRolePolicy,
		"DetachRolePolicy":         s.detachRolePolicy,
		"ListAttachedRolePolicies": s.listAttachedRolePolicies,
	}
}

func (s *Service) putRolePolicy(r *request) (any, error) {
	name, document := r.matching("PolicyName", policyName), r.document("PolicyDocument", identityPolicy)
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		policies := maps.Clone(role.Policies)
		if policies == nil {
			policies = map[string]string{}
		}
		policies[name] = document
		role.Policies = policies
		return nil
	})
}

func noSuchPolicy(name string) *call.Error {
	return call.Errorf("NoSuchEntity", "The role policy with name %s cannot be found.", name).WithStatus(http.StatusNotFound)
}

func (s *Service) getRolePolicy(r *request) (any, error) {
	name := r.need("PolicyName")
	role, err := s.role(r)
	if err != nil {
		return nil, err
	}
	document, ok := role.Policies[name]
	if !ok {
		return nil, noSuchPolicy(name)
	}
	return struct {
		RoleName       string
		PolicyName     string
		PolicyDocument string
	}{role.Name, name, encoded(document)}, nil
}

func (s *Service) deleteRolePolicy(r *request) (any, error) {
	name := r.need("PolicyName")
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		if _, ok := role.Policies[name]; !ok {
			return noSuchPolicy(name)
		}
		role.Policies = withoutTags(role.Policies, []string{name})
		return nil
	})
}

func (s *Service) listRolePolicies(r *request) (any, error) {
	names, end, err := s.ofRole(r, func(role store.Role) []string { return slices.Sorted(maps.Keys(role.Policies)) })
	return struct {
		PolicyNames []string `xml:"PolicyNames>member"`
		listing
	}{names, end}, err
}

// ofRole returns one page of what belongs to the role that the call names.
func (s *Service) ofRole(r *request, list func(store.Role) []string) ([]string, listing, error) {
	r.str("MaxItems")
	r.str("Marker")
	role, err := s.role(r)
	if err != nil {
		return nil, listing{}, err
	}
	return page(s, r, list(role), func(name string) string { return name })
}

// attachRolePolicy takes any policy that AWS manages; there are no others here.
func (s *Service) attachRolePolicy(r *request) (any, error) {
	arn := r.need("PolicyArn")
	if !strings.HasPrefix(arn, "arn:aws:iam::aws:policy/") {
		r.fail(call.Errorf("NoSuchEntity", "Policy %s does not exist or is not attachable. The local cloud has AWS managed policies and inline ones only.", arn).WithStatus(http.StatusNotFound))
	}
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		if !slices.Contains(role.Attached, arn) {
			role.Attached = slices.Sorted(slices.Values(append(slices.Clone(role.Attached), arn)))
		}
		return nil
	})
}

func (s *Service) detachRolePolicy(r *request) (any, error) {
	arn := r.need("PolicyArn")
	return nil, s.onRole(r, func(_ *store.Region, role *store.Role) error {
		if !slices.Contains(role.Attached, arn) {
			return call.Errorf("NoSuchEntity", "Policy %s was not found.", arn).WithStatus(http.StatusNotFound)
		}
		role.Attached = slices.DeleteFunc(slices.Clone(role.Attached), func(a string) bool { return a == arn })
		return nil
	})
}

func (s *Service) listAttachedRolePolicies(r *request) (any, error) {
	arns, end, err := s.ofRole(r, func(role store.Role) []string { return slices.Clone(role.Attached) })
	type attached struct {
		PolicyName string
		PolicyArn  string
	}
	out := struct {
		Attached []attached `xml:"AttachedPolicies>member"`
		listing
	}{listing: end}
	for _, arn := range arns {
		out.Attached = append(out.Attached, attached{arn[strings.LastIndexByte(arn, '/')+1:], arn})
	}
	return out, err
}

// The two kinds of policy documents.
const (
	identityPolicy = "identity" // what a role may do: names resources
	trustPolicy    = "trust"    // who may take on a role: names principals
)

// statement is one statement of a policy. One or a list of strings are both fine.
type statement struct {
	Effect       string
	Action       texts
	NotAction    texts
	Resource     texts
	NotResource  texts
	Principal    json.RawMessage
	NotPrincipal json.RawMessage
	Condition    map[string]map[string]texts
}

// texts is a string or a list of strings.
type texts []string

// UnmarshalJSON takes both forms.
func (s *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*s = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(s))
}

// statements reads a policy document.
func statements(document string) ([]statement, error) {
	var policy struct {
		Version   string
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(document), &policy); err != nil || policy.Statement == nil {
		return nil, malformed("Syntax errors in policy.")
	}
	if policy.Version != "" && policy.Version != "2012-10-17" && policy.Version != "2008-10-17" {
		return nil, malformed("Syntax errors in policy: the version '%s' does not exist.", policy.Version)
	}
	var list []statement
	if json.Unmarshal(policy.Statement, &list) != nil {
		var one statement
		if err := json.Unmarshal(policy.Statement, &one); err != nil {
			return nil, malformed("Syntax errors in policy.")
		}
		list = []statement{one}
	}
	if len(list) == 0 {
		return nil, malformed("Syntax errors in policy.")
	}
	return list, nil
}

func malformed(format string, args ...any) *call.Error {
	return call.Errorf("MalformedPolicyDocument", format, args...)
}

// document reads a policy and checks its form as far as IAM does at once.
func (f *form) document(name, kind string) string {
	text := f.need(name)
	if text == "" {
		return text
	}
	list, err := statements(text)
	if err != nil {
		f.fail(err)
	}
	for _, st := range list {
		principals := st.Principal != nil || st.NotPrincipal != nil
		resources := st.Resource != nil || st.NotResource != nil
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			f.fail(malformed("Syntax errors in policy: the effect must be Allow or Deny."))
		case st.Action == nil && st.NotAction == nil:
			f.fail(malformed("Policy statement must contain actions."))
		case kind == identityPolicy && principals:
			f.fail(malformed("Policy document should not specify a principal."))
		case kind == identityPolicy && !resources:
			f.fail(malformed("Policy statement must contain resources."))
		case kind == trustPolicy && !principals:
			f.fail(malformed("AssumeRolepolicy must contain a principal."))
		case kind == trustPolicy && resources:
			f.fail(malformed("Has prohibited field Resource"))
		}
	}
	return text
}
