// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package userdata

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The template form: the user's own user-data is the document, and says with
// Liquid's marks where the identity goes. RightLink 10 had it for systems that
// take no MIME documents. This is the part of Liquid that such documents use:
//
//	{{ rs_agent.client_id }}  {{ pair[0] }}  {{ x | upcase | default: "y" }}
//	{% for pair in rs_agent %} … {% endfor %}
//	{% if rs_agent.http_proxy %} … {% else %} … {% endif %}
//
// There is nothing in it that reads a file or counts without end.

// pair is a key with its value.
type pair struct{ key, value string }

// identityPairs are the keys of the identity file that have a value.
func identityPairs(s Settings) []pair {
	all := []pair{
		{"client_id", fmt.Sprint(s.TokenID)}, {"client_secret", s.Token.Reveal()}, {"account", fmt.Sprint(s.Account)},
		{"api_hostname", s.Server}, {"http_proxy", s.HTTPProxy}, {"no_proxy", s.NoProxy},
	}
	return slices.DeleteFunc(all, func(p pair) bool { return p.value == "" })
}

// template renders the user's own user-data. A document without a mark would
// come up as nobody, so that is an error.
func template(s Settings) (string, error) {
	if !strings.Contains(s.Own, "rs_agent") {
		return "", errors.New("user-data: the form template needs user-data of your own that names rs_agent, such as {{ rs_agent.client_id }}")
	}
	nodes, err := parseTemplate(s.Own)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	r := renderer{agent: identityPairs(s), out: &b}
	if err := r.render(nodes, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

// node is a piece of a template: text, an output, a loop or a condition.
type node struct {
	line int
	kind string // text, output, for, if
	text string // of text; else what the mark says
	name string // loop variable
	body []node
	rest []node // else
}

var marks = regexp.MustCompile(`(?s)\{\{-?(.*?)-?\}\}|\{%-?(.*?)-?%\}`)

// parser reads the pieces of a template one after another.
type parser struct {
	pieces []node // text, output and tag
	at     int
}

func parseTemplate(text string) ([]node, error) {
	p := &parser{}
	line, last := 1, 0
	add := func(kind, s string) { p.pieces = append(p.pieces, node{line: line, kind: kind, text: s}) }
	for _, m := range marks.FindAllStringSubmatchIndex(text, -1) {
		plain, mark := text[last:m[0]], text[m[0]:m[1]]
		if last > 0 && text[last-3] == '-' { // "-}}" takes the space after it away
			plain = strings.TrimLeft(plain, " \t\r\n")
		}
		if mark[2] == '-' {
			plain = strings.TrimRight(plain, " \t\r\n")
		}
		add("text", plain)
		line += strings.Count(text[last:m[0]], "\n")
		if m[2] >= 0 {
			add("output", strings.TrimSpace(text[m[2]:m[3]]))
		} else {
			add("tag", strings.TrimSpace(text[m[4]:m[5]]))
		}
		line += strings.Count(mark, "\n")
		last = m[1]
	}
	plain := text[last:]
	if last > 0 && text[last-3] == '-' {
		plain = strings.TrimLeft(plain, " \t\r\n")
	}
	add("text", plain)
	nodes, end, err := p.block(0)
	if err == nil && end != "" {
		err = p.fail(p.at-1, "{%% %s %%} ends nothing", end)
	}
	return nodes, err
}

// maxNesting bounds loops in loops.
const maxNesting = 4

var forForm = regexp.MustCompile(`^for\s+([a-z_][a-z0-9_]*)\s+in\s+rs_agent$`)

// block reads until a tag that ends it, and returns that tag.
func (p *parser) block(depth int) (nodes []node, end string, err error) {
	if depth > maxNesting {
		return nil, "", p.fail(p.at-1, "tags are nested more than %d deep", maxNesting)
	}
	for p.at < len(p.pieces) {
		n := p.pieces[p.at]
		p.at++
		if n.kind != "tag" {
			nodes = append(nodes, n)
			continue
		}
		word, rest, _ := strings.Cut(n.text, " ")
		switch word {
		case "endfor", "endif", "else":
			return nodes, n.text, nil
		case "for":
			m := forForm.FindStringSubmatch(n.text)
			if m == nil {
				return nil, "", p.fail(p.at-1, "{%% %s %%}: want {%% for NAME in rs_agent %%}", n.text)
			}
			n.kind, n.name = "for", m[1]
			if n.body, err = p.until(depth, n, "endfor"); err != nil {
				return nil, "", err
			}
		case "if":
			n.kind, n.text = "if", strings.TrimSpace(rest)
			if err = p.condition(depth, &n); err != nil {
				return nil, "", err
			}
		default:
			return nil, "", p.fail(p.at-1, "{%% %s %%} is not known here; there are for, if and else", n.text)
		}
		nodes = append(nodes, n)
	}
	return nodes, "", nil
}

func (p *parser) until(depth int, n node, want string) ([]node, error) {
	body, end, err := p.block(depth + 1)
	if err == nil && end != want {
		err = fmt.Errorf("user-data, line %d: {%% %s %%} has no {%% %s %%}", n.line, n.kind, want)
	}
	return body, err
}

func (p *parser) condition(depth int, n *node) error {
	body, end, err := p.block(depth + 1)
	if err != nil {
		return err
	}
	n.body = body
	switch end {
	case "endif":
		return nil
	case "else":
		n.rest, err = p.until(depth, *n, "endif")
		return err
	}
	return fmt.Errorf("user-data, line %d: {%% if %%} has no {%% endif %%}", n.line)
}

func (p *parser) fail(at int, format string, args ...any) error {
	line := 1
	if at >= 0 && at < len(p.pieces) {
		line = p.pieces[at].line
	}
	return fmt.Errorf("user-data, line %d: %s", line, fmt.Sprintf(format, args...))
}

// renderer writes a template with the values of one identity.
type renderer struct {
	agent []pair
	out   *strings.Builder
}

func (r renderer) render(nodes []node, vars map[string]pair) error {
	for _, n := range nodes {
		if r.out.Len() > 4*MaxSize {
			return fmt.Errorf("%w: the template makes more than %d bytes", ErrTooLarge, 4*MaxSize)
		}
		var err error
		switch n.kind {
		case "text":
			r.out.WriteString(n.text)
		case "output":
			var value string
			value, err = r.output(n, vars)
			r.out.WriteString(value)
		case "for":
			err = r.loop(n, vars)
		case "if":
			var value string
			if value, err = r.output(n, vars); err == nil && value != "" {
				err = r.render(n.body, vars)
			} else if err == nil {
				err = r.render(n.rest, vars)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r renderer) loop(n node, vars map[string]pair) error {
	inner := map[string]pair{}
	for k, v := range vars {
		inner[k] = v
	}
	for _, p := range r.agent {
		inner[n.name] = p
		if err := r.render(n.body, inner); err != nil {
			return err
		}
	}
	return nil
}

var valueForm = regexp.MustCompile(`^(?:rs_agent\.([a-z_]+)|rs_agent\[["']([a-z_]+)["']\]|([a-z_][a-z0-9_]*)\[([01])\]|"([^"]*)"|'([^']*)')$`)

// output is the value of an expression after its filters.
func (r renderer) output(n node, vars map[string]pair) (string, error) {
	parts := strings.Split(n.text, "|")
	m := valueForm.FindStringSubmatch(strings.TrimSpace(parts[0]))
	if m == nil {
		return "", fmt.Errorf("user-data, line %d: %q is no value; want rs_agent.NAME, VARIABLE[0] or VARIABLE[1]", n.line, strings.TrimSpace(parts[0]))
	}
	value := m[5] + m[6]
	switch {
	case m[1]+m[2] != "":
		for _, p := range r.agent {
			if p.key == m[1]+m[2] {
				value = p.value
			}
		}
	case m[3] != "":
		p, ok := vars[m[3]]
		if !ok {
			return "", fmt.Errorf("user-data, line %d: %q is no variable of a loop around it", n.line, m[3])
		}
		value = p.key
		if m[4] == "1" {
			value = p.value
		}
	}
	for _, filter := range parts[1:] {
		var err error
		if value, err = applyFilter(strings.TrimSpace(filter), value); err != nil {
			return "", fmt.Errorf("user-data, line %d: %w", n.line, err)
		}
	}
	return value, nil
}

func applyFilter(filter, value string) (string, error) {
	name, arg, _ := strings.Cut(filter, ":")
	switch strings.TrimSpace(name) {
	case "upcase":
		return strings.ToUpper(value), nil
	case "downcase":
		return strings.ToLower(value), nil
	case "strip":
		return strings.TrimSpace(value), nil
	case "base64_encode":
		return base64.StdEncoding.EncodeToString([]byte(value)), nil
	case "json":
		raw, err := json.Marshal(value)
		return string(raw), err
	case "default":
		if value == "" {
			value = strings.Trim(strings.TrimSpace(arg), `"'`)
		}
		return value, nil
	}
	return "", fmt.Errorf("filter %q is not known here; there are upcase, downcase, strip, base64_encode, json and default", filter)
}
