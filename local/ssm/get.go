// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ssm

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// item is a parameter with its value.
type item struct {
	ARN              string
	DataType         string
	LastModifiedDate float64
	Name             string
	Selector         string `json:",omitempty"`
	Type             string
	Value            string
	Version          int64
}

// arn names a parameter; a name without hierarchy gets the slash that it lacks.
func (s *Service) arn(region, name string) string {
	return "arn:aws:ssm:" + region + ":" + s.Account + ":parameter/" + strings.TrimPrefix(name, "/")
}

// secret stands for the value of a SecureString that is not to be decrypted.
const secret = "kms:local"

func (s *Service) item(region string, p store.Parameter, v store.ParameterVersion, decrypt bool) item {
	it := item{
		s.arn(region, p.Name), v.DataType, float64(v.Modified.UnixMilli()) / 1000, p.Name, "", v.Type, v.Value, v.Version,
	}
	if v.Type == typeSecure && !decrypt {
		it.Value = secret
	}
	return it
}

func notFound(name string) *call.Error {
	return call.Errorf("ParameterNotFound", "The parameter %s does not exist.", name)
}

// find finds a version by NAME, NAME:VERSION or the ARN of either.
func (s *Service) find(reg *store.Region, wanted string) (p store.Parameter, v store.ParameterVersion, selector string, err error) {
	name := wanted
	if prefix := s.arn(reg.Name, ""); strings.HasPrefix(name, prefix) {
		name = name[len(prefix)-1:]
		if _, ok := reg.Parameters.Get(store.ParameterKey(strings.SplitN(name, ":", 2)[0])); !ok {
			name = name[1:]
		}
	}
	name, version, versioned := strings.Cut(name, ":")
	p, ok := reg.Parameters.Get(store.ParameterKey(name))
	if !ok {
		return p, v, "", notFound(wanted)
	}
	if !versioned {
		return p, p.Last(), "", nil
	}
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return p, v, "", call.Errorf("UnsupportedOperation", "The local cloud has no parameter labels: '%s' is no version.", version)
	}
	at := slices.IndexFunc(p.Versions, func(v store.ParameterVersion) bool { return v.Version == n })
	if at < 0 {
		return p, v, "", call.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.", version, name)
	}
	return p, p.Versions[at], ":" + version, nil
}

func (s *Service) getParameter(r *request) (any, error) {
	var in struct {
		Name           string
		WithDecryption bool
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	var out struct{ Parameter item }
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		p, v, selector, err := s.find(reg, in.Name)
		if err == nil {
			out.Parameter = s.item(r.Region, p, v, in.WithDecryption)
			out.Parameter.Selector = selector
		}
		return err
	})
	return out, err
}

// getParameters names what it did not find instead of failing.
func (s *Service) getParameters(r *request) (any, error) {
	var in struct {
		Names          []string
		WithDecryption bool
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if len(in.Names) < 1 || len(in.Names) > 10 {
		return nil, invalid("1 validation error detected: 'names' must have between 1 and 10 entries")
	}
	out := struct{ Parameters, InvalidParameters any }{}
	found, absent := []item{}, []string{}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		for _, name := range in.Names {
			p, v, selector, err := s.find(reg, name)
			if err != nil {
				absent = append(absent, name)
				continue
			}
			it := s.item(r.Region, p, v, in.WithDecryption)
			it.Selector = selector
			found = append(found, it)
		}
		return nil
	})
	out.Parameters, out.InvalidParameters = found, absent
	return out, err
}

// byPath is the order of lists.
func byPath(reg *store.Region) []store.Parameter {
	rows := reg.Parameters.All()
	slices.SortFunc(rows, func(a, b store.Parameter) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// paging is what lists are asked for.
type paging struct {
	MaxResults *int
	NextToken  string
}

// cut cuts one page out of rows, which are sorted by key.
func cut[T any](s *Service, r *request, pg paging, most int, rows []T, key func(T) string) ([]T, string, error) {
	if pg.MaxResults != nil {
		if *pg.MaxResults < 1 || *pg.MaxResults > most {
			return nil, "", invalid("1 validation error detected: Value '%d' at 'maxResults' must be between 1 and %d", *pg.MaxResults, most)
		}
		most = *pg.MaxResults
	}
	scope := "ssm/" + r.Action + "/" + r.Region
	if pg.NextToken != "" {
		last, ok := s.Store.OpenToken(scope, pg.NextToken)
		if !ok {
			return nil, "", call.Errorf("InvalidNextToken", "The specified token isn't valid.")
		}
		rows = slices.DeleteFunc(rows, func(row T) bool { return key(row) <= last })
	}
	if len(rows) <= most {
		return rows, "", nil
	}
	return rows[:most], s.Store.Token(scope, key(rows[most-1])), nil
}

func (s *Service) getParametersByPath(r *request) (any, error) {
	var in struct {
		Path                      string
		Recursive, WithDecryption bool
		paging
	}
	if err := r.into(&in); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(in.Path, "/") {
		return nil, invalid("The parameter path '%s' must begin with a slash.", in.Path)
	}
	prefix := strings.TrimSuffix(in.Path, "/") + "/"
	rows := []item{}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		for _, p := range byPath(reg) {
			rest, below := strings.CutPrefix(p.Name, prefix)
			if below && (in.Recursive || !strings.Contains(rest, "/")) {
				rows = append(rows, s.item(r.Region, p, p.Last(), in.WithDecryption))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(s, r, in.paging, 10, rows, func(it item) string { return it.Name })
	return struct {
		Parameters []item
		NextToken  string `json:",omitempty"`
	}{rows, next}, err
}
