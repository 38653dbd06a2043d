// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/version"
)

// sarif writes the report in the form that code scanning reads: SARIF 2.1.0.
func (r *Report) sarif(w io.Writer) error {
	type text struct {
		Text string `json:"text"`
	}
	type rule struct {
		ID    string            `json:"id"`
		Short text              `json:"shortDescription"`
		Help  text              `json:"help"`
		Props map[string]string `json:"properties"`
	}
	type artifact struct {
		URI string `json:"uri"`
	}
	type region struct {
		StartLine int `json:"startLine"`
	}
	type physical struct {
		Artifact artifact `json:"artifactLocation"`
		Region   *region  `json:"region,omitempty"`
	}
	type location struct {
		Physical physical `json:"physicalLocation"`
	}
	type suppression struct {
		Kind          string `json:"kind"`
		Justification string `json:"justification"`
	}
	type result struct {
		RuleID       string        `json:"ruleId"`
		Level        string        `json:"level"`
		Message      text          `json:"message"`
		Locations    []location    `json:"locations,omitempty"`
		Suppressions []suppression `json:"suppressions,omitempty"`
	}
	levels := map[Severity]string{Info: "note", Warning: "warning", Blocker: "error"}
	rules, results := []rule{}, []result{}
	for _, id := range r.Checks {
		if c := Find(id); c != nil {
			rules = append(rules, rule{id, text{c.Pass}, text{c.Remedy}, map[string]string{"severity": c.Severity.String(), "class": string(c.Class)}})
		}
	}
	for _, f := range r.Findings {
		one := result{RuleID: f.Check, Level: levels[f.Severity], Message: text{f.Evidence}}
		if f.Path != "" {
			p := physical{Artifact: artifact{strings.TrimPrefix(f.Path, "/")}}
			if f.Line > 0 {
				p.Region = &region{f.Line}
			}
			one.Locations = []location{{p}}
		}
		if f.Waived != "" {
			one.Suppressions = []suppression{{"external", f.Waived}}
		}
		results = append(results, one)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":    map[string]any{"driver": map[string]any{"name": "rightimage verify", "version": version.String(), "rules": rules}},
			"results": results,
		}},
	})
}

// junit writes the report as a suite of tests: a check is a case, which fails
// when it has a blocker or a warning that nobody has waived.
func (r *Report) junit(w io.Writer) error {
	type message struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *message `xml:"failure,omitempty"`
		Skipped *message `xml:"skipped,omitempty"`
		Out     string   `xml:"system-out,omitempty"`
	}
	type suite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testcase `xml:"testcase"`
	}
	s := suite{Name: "rightimage verify " + safe(r.Target), Tests: len(r.Checks), Time: fmt.Sprintf("%.3f", r.Seconds)}
	for _, id := range r.Checks {
		one := testcase{Class: "rightimage", Name: id}
		var failed, told []string
		for _, f := range r.Findings {
			switch text := safe(fmt.Sprintf("%s: %s: %s", f.Severity, f.Where(), f.Evidence)); {
			case f.Check != id:
			case f.Waived == "" && f.Severity >= Warning:
				failed = append(failed, text)
			default:
				told = append(told, text)
			}
		}
		one.Out = strings.Join(told, "\n")
		if len(failed) > 0 {
			s.Failures++
			one.Failure = &message{Message: fmt.Sprintf("%d findings", len(failed)), Text: strings.Join(failed, "\n")}
		}
		for _, k := range r.Skipped {
			if k.Check == id && one.Failure == nil && one.Skipped == nil {
				s.Skipped++
				one.Skipped = &message{Message: safe(k.Why)}
			}
		}
		s.Cases = append(s.Cases, one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
