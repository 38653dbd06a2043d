// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ssm

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/kms"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Limits of Parameter Store, from its API reference.
const (
	maxName        = 1011
	maxDepth       = 15
	maxStandard    = 4 << 10 // bytes of a value
	maxAdvanced    = 8 << 10
	maxVersions    = 100
	maxTags        = 50
	textType       = "text"
	imageType      = "aws:ec2:image"
	tierAdvanced   = "Advanced"
	publicPrefix   = "/aws/service/"
	typeString     = "String"
	typeStringList = "StringList"
	typeSecure     = "SecureString"
)

type tag struct{ Key, Value string }

type putRequest struct {
	Name, Value, Type, DataType, Description, AllowedPattern, Tier string
	KeyID                                                          string `json:"KeyId"`
	Overwrite                                                      bool
	Tags                                                           []tag
}

// putParameter makes a parameter or a new version of one. Unlike AWS it lets
// the user set the public parameters, for there is nobody else who could.
func (s *Service) putParameter(r *request) (any, error) {
	var in putRequest
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	tags, err := withTags(nil, in.Tags)
	if err != nil {
		return nil, err
	}
	out := struct {
		Version int64
		Tier    string
	}{Tier: "Standard"}
	if in.Tier == tierAdvanced || in.Tier == "Intelligent-Tiering" && len(in.Value) > maxStandard {
		out.Tier = tierAdvanced
	}
	err = s.Store.Update(r.Region, func(reg *store.Region) error {
		p, there := reg.Parameters.Get(store.ParameterKey(in.Name))
		if in.DataType == "" {
			in.DataType = textType
			if there {
				in.DataType = p.Last().DataType
			}
		}
		if err := in.fits(p, there); err != nil {
			return err
		}
		if in.DataType == imageType {
			if _, ok := reg.Images.Get(in.Value); !ok {
				return invalid("The parameter value %s is not an AMI of this account in %s.", in.Value, reg.Name)
			}
		}
		if !there {
			p = store.Parameter{Name: in.Name, Created: s.Store.Now().UTC(), Tags: tags}
		}
		v, err := s.version(reg, in, p)
		if err != nil {
			return err
		}
		v.Tier, out.Version = out.Tier, v.Version
		p.Versions = append(slices.Clone(p.Versions), v)
		p.Versions = p.Versions[max(0, len(p.Versions)-maxVersions):]
		return reg.Parameters.Put(p)
	})
	return out, err
}

// check holds the rules that need no state.
func (in putRequest) check() error {
	limit := maxStandard
	if in.Tier == tierAdvanced || in.Tier == "Intelligent-Tiering" {
		limit = maxAdvanced
	}
	pattern, err := regexp.Compile(in.AllowedPattern)
	switch {
	case !wellNamed(in.Name):
		return invalid("Parameter name: \"%s\" can't be prefixed with \"aws\" or \"ssm\" (case-insensitive), and must have the form /a/b of at most %d levels of the letters a-zA-Z0-9_.-", in.Name, maxDepth)
	case in.Value == "":
		return invalid("1 validation error detected: Value at 'value' must have at least one character")
	case len(in.Value) > limit:
		return invalid("Parameter value length exceeds the limit of %d bytes of its tier.", limit)
	case in.Type != "" && !slices.Contains([]string{typeString, typeStringList, typeSecure}, in.Type):
		return call.Errorf("UnsupportedParameterType", "The parameter type '%s' is not supported.", in.Type)
	case !slices.Contains([]string{"", "Standard", tierAdvanced, "Intelligent-Tiering"}, in.Tier):
		return invalid("Value '%s' at 'tier' is not valid.", in.Tier)
	case !slices.Contains([]string{"", textType, imageType}, in.DataType):
		return invalid("The data type '%s' is not supported. Use text or %s.", in.DataType, imageType)
	case in.DataType == imageType && in.Type != "" && in.Type != typeString:
		return invalid("The data type %s is only for parameters of the type String.", imageType)
	case in.DataType == imageType && !regexp.MustCompile(`\Aami-[0-9a-f]{8,17}\z`).MatchString(in.Value):
		return invalid("Invalid parameter value %s. Valid AMI ids have the form ami-12345abcdeEXAMPLE.", in.Value)
	case in.KeyID != "" && in.Type != typeSecure:
		return invalid("KeyId is required for SecureString type parameter only.")
	case err != nil:
		return call.Errorf("InvalidAllowedPatternException", "The pattern '%s' is not valid: %v", in.AllowedPattern, err)
	case in.AllowedPattern != "" && pattern.FindString(in.Value) != in.Value:
		return call.Errorf("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", in.AllowedPattern)
	case in.Overwrite && len(in.Tags) > 0:
		return invalid("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	return nil
}

func wellNamed(name string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(name), "/"), "/")
	reserved := strings.HasPrefix(first, "aws") || strings.HasPrefix(first, "ssm")
	return len(name) <= maxName && regexp.MustCompile(`\A(/?[a-zA-Z0-9_.-]+)(/[a-zA-Z0-9_.-]+)*\z`).MatchString(name) &&
		strings.Count(name, "/") <= maxDepth && (!strings.Contains(name, "/") || name[0] == '/') &&
		(!reserved || strings.HasPrefix(name, publicPrefix))
}

// fits refuses what does not go with the parameter that is there.
func (in putRequest) fits(p store.Parameter, there bool) error {
	switch {
	case !there && in.Type == "":
		return invalid("A parameter type is required when you create a parameter.")
	case !there:
		return nil
	case !in.Overwrite:
		return call.Errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
	}
	last := p.Last()
	if in.Type != "" && in.Type != last.Type {
		return call.Errorf("HierarchyTypeMismatchException", "The parameter '%s' is a %s; its type cannot be changed to %s.", p.Name, last.Type, in.Type)
	}
	if in.DataType != last.DataType {
		return invalid("The data type of the parameter '%s' is %s and cannot be changed.", p.Name, last.DataType)
	}
	return nil
}

// version makes the next version of a parameter.
func (s *Service) version(reg *store.Region, in putRequest, p store.Parameter) (store.ParameterVersion, error) {
	v := store.ParameterVersion{
		Version: 1, Value: in.Value, Type: in.Type, DataType: in.DataType, Description: in.Description,
		AllowedPattern: in.AllowedPattern, Modified: s.Store.Now().UTC().Truncate(time.Millisecond),
	}
	if len(p.Versions) > 0 {
		v.Version, v.Type = p.Last().Version+1, p.Last().Type
	}
	if v.Type != typeSecure {
		return v, nil
	}
	v.KeyID = in.KeyID
	if v.KeyID == "" {
		v.KeyID = "alias/aws/ssm"
	}
	if _, ok := kms.Resolve(reg.Name, s.Account, v.KeyID); !ok {
		return v, call.Errorf("InvalidKeyId", "The KMS key '%s' does not exist in %s.", v.KeyID, reg.Name)
	}
	return v, nil
}

func withTags(have map[string]string, more []tag) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for _, t := range more {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 || strings.HasPrefix(strings.ToLower(t.Key), "aws:") {
			return nil, invalid("The tag '%s' is not valid: keys have 1 to 128 characters and do not begin with aws:, values have at most 256", t.Key)
		}
		out[t.Key] = t.Value
	}
	if len(out) > maxTags {
		return nil, call.Errorf("TooManyTagsError", "A parameter can have at most %d tags.", maxTags)
	}
	return out, nil
}
