// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// InputValue is an input of an object with the value that counts there.
type InputValue struct {
	Name  string
	Value rightscript.Value
}

// effective takes, for each input of the scripts, the value of the first level
// that has one, then the script's default, then none. Values of the first level
// that no script asks for come along: they were set on purpose.
func effective(scripts []store.BoundScript, none rightscript.Kind, levels ...map[string]rightscript.Value) []InputValue {
	defaults := map[string]rightscript.Value{}
	for _, script := range scripts {
		for _, in := range script.Inputs {
			if have, known := defaults[in.Name]; !known || have.IsZero() {
				defaults[in.Name] = in.Default
			}
		}
	}
	for name := range levels[0] {
		if _, known := defaults[name]; !known {
			defaults[name] = rightscript.Value{}
		}
	}
	list := make([]InputValue, 0, len(defaults))
	for _, name := range sortedKeys(defaults) {
		value := defaults[name]
		for i := len(levels) - 1; i >= 0; i-- {
			if v, ok := levels[i][name]; ok && v.Kind != rightscript.KindInherit {
				value = v
			}
		}
		if value.IsZero() {
			value.Kind = none
		}
		list = append(list, InputValue{name, value})
	}
	return list
}

// TemplateInputs lists the inputs of a ServerTemplate's scripts. One without
// any value is blank, as API 1.5 has it.
func (s *Service) TemplateInputs(ctx context.Context, t store.ServerTemplate) ([]InputValue, error) {
	scripts, err := s.DB.BoundScripts(ctx, t.ID, "")
	return effective(scripts, rightscript.KindBlank, t.Inputs), err
}

// DeploymentInputs lists the inputs that the servers of a deployment have; what
// the deployment does not set is inherited.
func (s *Service) DeploymentInputs(ctx context.Context, d store.Deployment) ([]InputValue, error) {
	templates, err := s.DB.TemplatesInDeployment(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	var scripts []store.BoundScript
	for _, id := range templates {
		bound, err := s.DB.BoundScripts(ctx, id, "")
		if err != nil {
			return nil, err
		}
		scripts = append(scripts, bound...)
	}
	for i := range scripts {
		scripts[i].Inputs = slices.Clone(scripts[i].Inputs)
		for j := range scripts[i].Inputs {
			scripts[i].Inputs[j].Default = rightscript.Value{}
		}
	}
	return effective(scripts, rightscript.KindInherit, d.Inputs), nil
}

// ServerInputs lists the inputs of a server as the next launch would see them,
// or as one instance of it sees them.
func (s *Service) ServerInputs(ctx context.Context, server store.Server, instanceID int64) ([]InputValue, error) {
	scripts, err := s.DB.BoundScripts(ctx, server.TemplateID, "")
	if err != nil {
		return nil, err
	}
	levels, err := inputLevels(ctx, &s.DB.Queries, server, instanceID)
	if err != nil {
		return nil, err
	}
	return effective(scripts, rightscript.KindInherit, levels...), nil
}

// inputLevels are the values of a server from the highest to the lowest: of the
// instance (none with id 0), the server, its deployment, its ServerTemplate.
func inputLevels(ctx context.Context, q *store.Queries, server store.Server, instanceID int64) (levels []map[string]rightscript.Value, err error) {
	onInstance := map[string]rightscript.Value{}
	if instanceID != 0 {
		if onInstance, err = q.InstanceInputs(ctx, instanceID); err != nil {
			return nil, err
		}
	}
	onServer, err := q.ServerInputs(ctx, server.ID)
	if err != nil {
		return nil, err
	}
	var d store.Deployment
	if server.DeploymentID != 0 {
		if d, err = q.Deployment(ctx, server.AccountID, server.DeploymentID); err != nil {
			return nil, err
		}
	}
	tmpl, err := q.ServerTemplate(ctx, server.TemplateID)
	return []map[string]rightscript.Value{onInstance, onServer, d.Inputs, tmpl.Inputs}, err
}

// SetServerInputs writes values on a server, for its next launch, or on one
// living instance of it; "inherit" removes one, and those not named stay.
func (s *Service) SetServerInputs(ctx context.Context, by By, serverID, instanceID int64, inputs map[string]rightscript.Value) error {
	return s.DB.InTx(ctx, func(q *store.Queries) error {
		server, err := serverOf(ctx, q, by.Account, serverID)
		if err != nil {
			return err
		}
		set, href, read := q.SetServerInputs, ServerHref(serverID), q.ServerInputs
		id := serverID
		if instanceID != 0 {
			inst, err := q.Instance(ctx, instanceID)
			if err != nil {
				return err
			}
			set, href, read, id = q.SetInstanceInputs, InstanceHref(inst), q.InstanceInputs, instanceID
		}
		have, err := read(ctx, id)
		if err != nil {
			return err
		}
		if _, err := merged(have, inputs); err != nil {
			return err
		}
		if err := set(ctx, id, inputs); err != nil {
			return err
		}
		return s.about(ctx, q, by, href, "inputs of server "+server.Name+" changed: "+strings.Join(sortedKeys(inputs), ", "))
	})
}

var (
	usedVariable     = regexp.MustCompile(`\$\{?([A-Z][A-Z0-9_]*)`)
	assignedVariable = regexp.MustCompile(`(?m)(?:^|[\s;(])(?:export\s+|local\s+|readonly\s+)?([A-Z][A-Z0-9_]*)(?:\+?=|\[)|\b(?:for|read(?:\s+-\w+)*)\s+([A-Z][A-Z0-9_]*)`)
	shellVariables   = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "IFS", "RANDOM", "SECONDS", "UID", "EUID", "GROUPS", "HOSTNAME", "HOSTTYPE", "LANG", "TERM",
		"LINENO", "PPID", "OSTYPE", "MACHTYPE", "OPTARG", "OPTIND", "REPLY", "FUNCNAME", "PIPESTATUS", "TMPDIR", "ATTACH_DIR", "EPOCHSECONDS", "DIRSTACK", "SHELLOPTS", "SHLVL"}
)

// detectInputs guesses the inputs of a script that does not declare any, as the
// original did: upper-case variables that it uses and does not set itself.
func detectInputs(source string) []rightscript.Input {
	own := map[string]bool{}
	for _, m := range assignedVariable.FindAllStringSubmatch(source, -1) {
		own[m[1]], own[m[2]] = true, true
	}
	found := map[string]bool{}
	for _, m := range usedVariable.FindAllStringSubmatch(source, -1) {
		name := m[1]
		if !own[name] && !slices.Contains(shellVariables, name) && !strings.HasPrefix(name, "BASH") && rightscript.CheckInputName(name) == nil {
			found[name] = true
		}
	}
	list := make([]rightscript.Input, 0, len(found))
	for _, name := range sortedKeys(found) {
		list = append(list, rightscript.Input{Name: name, Type: rightscript.TypeSingle})
	}
	return list[:min(len(list), maxInputs)]
}
