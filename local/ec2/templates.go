// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) fleetActions() map[string]handler {
	return map[string]handler{
		"CreateLaunchTemplate":         s.createTemplate,
		"DescribeLaunchTemplates":      s.describeTemplates,
		"DeleteLaunchTemplate":         s.deleteTemplate,
		"CreateFleet":                  s.createFleet,
		"DescribeFleets":               s.describeFleets,
		"DeleteFleets":                 s.deleteFleets,
		"DescribeSpotInstanceRequests": s.describeSpotRequests,
	}
}

// flat returns the values below a parameter, by their names relative to it, and
// marks them as read.
func (p params) flat(name string) map[string]string {
	out := map[string]string{}
	n := p.find(name)
	if n == nil {
		return out
	}
	n.readAll()
	n.collect("", out)
	return out
}

func (n *node) collect(prefix string, out map[string]string) {
	for name, k := range n.kids {
		if k.given {
			out[prefix+name] = k.value
		}
		k.collect(prefix+name+".", out)
	}
}

// over lays parameters over others: what is named in both is taken from top as a
// whole, with everything below its first word.
func over(top, base map[string]string) map[string]string {
	out := maps.Clone(base)
	for name := range top {
		word, _, _ := strings.Cut(name, ".")
		maps.DeleteFunc(out, func(k, _ string) bool { return k == word || strings.HasPrefix(k, word+".") })
	}
	maps.Copy(out, top)
	return out
}

// launchRequest makes a request of the parameters of RunInstances, to be read and
// checked like one.
func launchRequest(r *request, data map[string]string) *request {
	form := url.Values{}
	for k, v := range data {
		form.Set(k, v)
	}
	return &request{Call: r.Call, params: newParams(form)}
}

// withTemplate lays the parameters of a RunInstances request over those of the
// launch template that it names.
func (s *Service) withTemplate(r *request) (*request, error) {
	if !r.has("LaunchTemplate") {
		return r, nil
	}
	find, version := r.templateOf("LaunchTemplate.LaunchTemplateId", "LaunchTemplate.LaunchTemplateName"), r.str("LaunchTemplate.Version")
	if err := r.problem(); err != nil {
		return nil, err
	}
	own := map[string]string{}
	r.collect("", own)
	maps.DeleteFunc(own, func(k, _ string) bool { return strings.HasPrefix(k, "LaunchTemplate.") })
	var merged map[string]string
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		t, err := find(reg)
		if err != nil {
			return err
		}
		v, err := versionOf(t, version)
		if err == nil {
			merged = over(own, v.Data)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return launchRequest(r, merged), nil
}

// templateOf reads which template a request is about.
func (p params) templateOf(idParam, nameParam string) func(*store.Region) (store.LaunchTemplate, error) {
	id, name := p.str(idParam), p.str(nameParam)
	if (id == "") == (name == "") {
		p.fail(call.Errorf("InvalidRequest", "The request must contain either %s or %s.", idParam, nameParam))
	}
	return func(reg *store.Region) (store.LaunchTemplate, error) {
		if id != "" {
			return finding(reg.Templates, "lt", "InvalidLaunchTemplateId", "InvalidLaunchTemplateId", "The specified launch template, with template ID %s, does not exist.", id)
		}
		for _, t := range reg.Templates.All() {
			if t.Name == name {
				return t, nil
			}
		}
		return store.LaunchTemplate{}, call.Errorf("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", name)
	}
}

// versionOf finds a version by its number, $Latest, or $Default for "".
func versionOf(t store.LaunchTemplate, want string) (store.TemplateVersion, error) {
	switch want {
	case "", "$Default":
		want = itoa(t.Default)
	case "$Latest":
		return t.Versions[len(t.Versions)-1], nil
	}
	for _, v := range t.Versions {
		if strconv.FormatInt(v.Number, 10) == want {
			return v, nil
		}
	}
	return store.TemplateVersion{}, call.Errorf("InvalidLaunchTemplateId.VersionNotFound", "Could not find launch template version %s of %s.", want, t.ID)
}

// templateData reads the parameters of a template. All of them must be such as
// RunInstances takes here; what a launch needs may be absent.
func (s *Service) templateData(r *request) map[string]string {
	data := r.flat("LaunchTemplateData")
	if len(data) == 0 {
		r.fail(missing("LaunchTemplateData"))
	}
	probe := launchRequest(r, over(data, map[string]string{"ImageId": "ami-1", "MinCount": "1", "MaxCount": "1"}))
	s.readLaunch(probe)
	if err := probe.problem(); err != nil {
		r.fail(err)
	}
	if left := probe.unread(); len(left) > 0 {
		r.fail(call.Errorf("UnsupportedOperation", "The local cloud does not support the parameter LaunchTemplateData.%s of %s.", strings.Join(left, ", LaunchTemplateData."), r.Action))
	}
	return data
}

type templateReply struct {
	meta
	Template templateItem `xml:"launchTemplate"`
}

type describeTemplatesReply struct {
	meta
	Templates set[templateItem] `xml:"launchTemplates"`
	NextToken string            `xml:"nextToken,omitempty"`
}

type templateItem struct {
	ID        string       `xml:"launchTemplateId"`
	Name      string       `xml:"launchTemplateName"`
	Created   string       `xml:"createTime"`
	CreatedBy string       `xml:"createdBy"`
	Default   int64        `xml:"defaultVersionNumber"`
	Latest    int64        `xml:"latestVersionNumber"`
	Tags      set[tagItem] `xml:"tagSet"`
}

func (s *Service) templateItem(t store.LaunchTemplate) templateItem {
	return templateItem{t.ID, t.Name, stamp(t.Created), s.root(), t.Default, t.Versions[len(t.Versions)-1].Number, tagSet(t.Tags)}
}

// root is the ARN of the one user of the local cloud.
func (s *Service) root() string { return "arn:aws:iam::" + s.Account + ":root" }

func (s *Service) createTemplate(r *request) (reply, error) {
	now := s.Store.Now().UTC()
	t := store.LaunchTemplate{
		ID: store.NewID("lt"), Name: r.need("LaunchTemplateName"), Created: now, Default: 1, Tags: r.tagSpecs("launch-template")["launch-template"],
		Versions:    []store.TemplateVersion{{Number: 1, Description: r.str("VersionDescription"), Created: now, Data: s.templateData(r)}},
		ClientToken: r.str("ClientToken"), RequestHash: requestHash(r),
	}
	_, err := s.do1(r, func(reg *store.Region) error {
		for _, other := range reg.Templates.All() {
			switch {
			case t.ClientToken != "" && other.ClientToken == t.ClientToken && other.RequestHash == t.RequestHash:
				t = other
				return nil
			case t.ClientToken != "" && other.ClientToken == t.ClientToken:
				return mismatch()
			case other.Name == t.Name:
				return call.Errorf("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
			}
		}
		return reg.Templates.Put(t)
	})
	if err != nil {
		return nil, err
	}
	return &templateReply{Template: s.templateItem(t)}, nil
}

func (s *Service) describeTemplates(r *request) (reply, error) {
	type lt = store.LaunchTemplate
	names := r.list("LaunchTemplateName")
	rows, next, err := describe(s, r, kind[lt]{
		ids: "LaunchTemplateId", prefix: "lt", code: "InvalidLaunchTemplateId", absent: "The specified launch template, with template ID %s, does not exist.",
		all: func(reg *store.Region) []lt { return reg.Templates.All() },
		id:  func(t lt) string { return t.ID },
		key: func(t lt) string { return rowKey(t.Created, t.ID) },
		attrs: attributes[lt]{
			tags: func(t lt) map[string]string { return t.Tags },
			fields: map[string]func(lt) []string{
				"launch-template-name": only(func(t lt) string { return t.Name }),
				"create-time":          only(func(t lt) string { return stamp(t.Created) }),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(rows, func(t lt) bool { return t.Name == name }) {
			return nil, call.Errorf("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", name)
		}
	}
	out := &describeTemplatesReply{NextToken: next}
	for _, t := range rows {
		if len(names) == 0 || slices.Contains(names, t.Name) {
			out.Templates.Items = append(out.Templates.Items, s.templateItem(t))
		}
	}
	return out, nil
}

func (s *Service) deleteTemplate(r *request) (reply, error) {
	find := r.templateOf("LaunchTemplateId", "LaunchTemplateName")
	out := &templateReply{}
	_, err := s.do1(r, func(reg *store.Region) error {
		t, err := find(reg)
		if err != nil {
			return err
		}
		out.Template = s.templateItem(t)
		return reg.Templates.Delete(t.ID)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
