// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package render

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Usage reads a program whose whole help is one text: a first sentence, a line
// "usage: NAME …", and commands that are indented by two spaces with what they do
// further to the right.
func Usage(name, text string) (Program, error) {
	head, rest, ok := strings.Cut(text, "\nusage: "+name+" ")
	if !ok {
		return Program{}, fmt.Errorf("the help of %s has no line \"usage: %s …\"", name, name)
	}
	synopsis, rest, _ := strings.Cut(rest, "\n")
	p := Program{
		Name: name, Synopsis: synopsis, Long: rest, Verbatim: true,
		Short: strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(head), name+" "), "."),
	}
	for _, o := range optionNames(synopsis) {
		p.Options = append(p.Options, Option{Name: o})
	}
	p.Options = append(p.Options, Option{Name: "--help"})
	p.commands(rest)
	if len(p.Commands) == 0 {
		return Program{}, fmt.Errorf("the help of %s names no command", name)
	}
	p.Completions = map[string]string{"bash": p.bash(), "zsh": p.zsh(), "fish": p.fish()}
	return p, nil
}

// commandLine matches the first line of a command: its name, what it takes, and
// after two spaces or on the next line what it does.
func commandLine() *regexp.Regexp {
	return regexp.MustCompile(`^  ([a-z][a-z-]*)((?: \S+)*?)(?:   *(\S.*))?$`)
}

// commands reads the lists of commands. A command's text ends at the next one,
// at an empty line, or at a line that is not indented.
func (p *Program) commands(text string) {
	current := -1
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		m := commandLine().FindStringSubmatch(line)
		switch {
		case m != nil:
			if current = slices.IndexFunc(p.Commands, func(c Command) bool { return c.Name == m[1] }); current < 0 {
				p.Commands = append(p.Commands, Command{Name: m[1], Short: m[3]})
				current = len(p.Commands) - 1
			}
			p.Commands[current].add(m[2], m[3])
		case current >= 0 && strings.HasPrefix(line, "   "):
			p.Commands[current].add(line, strings.TrimSpace(line))
		default:
			current = -1
		}
	}
}

// add takes the options that a line names, and its text where the command has
// none yet.
func (c *Command) add(line, text string) {
	if c.Short == "" {
		c.Short = text
	}
	for _, o := range optionNames(line) {
		if !slices.ContainsFunc(c.Options, func(have Option) bool { return have.Name == o }) {
			c.Options = append(c.Options, Option{Name: o})
		}
	}
}

func optionNames(text string) []string {
	return regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(text, -1)
}

func (p Program) names() []string {
	var out []string
	for _, c := range p.Commands {
		out = append(out, c.Name)
	}
	return out
}

func names(options []Option) []string {
	var out []string
	for _, o := range options {
		out = append(out, o.Name)
	}
	return out
}

func (p Program) bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# bash completion of %s, made of its help by \"make generate\".\n_%s() {\n", p.Name, p.Name)
	b.WriteString("    local word command='' words=''\n")
	b.WriteString("    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n        case $word in\n")
	fmt.Fprintf(&b, "        %s)\n            command=$word\n            break\n            ;;\n        esac\n    done\n", strings.Join(p.names(), " | "))
	b.WriteString("    if [ \"${COMP_WORDS[COMP_CWORD-1]}\" = --root ]; then\n        mapfile -t COMPREPLY < <(compgen -d -- \"${COMP_WORDS[COMP_CWORD]}\")\n        return\n    fi\n")
	fmt.Fprintf(&b, "    case $command in\n    '') words='%s' ;;\n", strings.Join(append(p.names(), names(p.Options)...), " "))
	for _, c := range p.Commands {
		if len(c.Options) > 0 {
			fmt.Fprintf(&b, "    %s) words='%s' ;;\n", c.Name, strings.Join(names(c.Options), " "))
		}
	}
	b.WriteString("    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n}\n")
	fmt.Fprintf(&b, "complete -F _%s %s\n", p.Name, p.Name)
	return b.String()
}

func (p Program) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n# zsh completion of %s, made of its help by \"make generate\".\n_%s() {\n", p.Name, p.Name, p.Name)
	b.WriteString("    local context state state_descr line\n    typeset -A opt_args\n    _arguments -C \\\n")
	for _, o := range p.Options {
		if o.Name == "--root" {
			fmt.Fprintf(&b, "        '%s[take all paths below this directory]:directory:_files -/' \\\n", o.Name)
		} else {
			fmt.Fprintf(&b, "        '%s' \\\n", o.Name)
		}
	}
	b.WriteString("        '1: :->command' '*:: :->rest'\n    case $state in\n    command)\n        local -a commands=(\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "            '%s:%s'\n", c.Name, strings.NewReplacer("'", "", ":", `\:`).Replace(c.Short))
	}
	b.WriteString("        )\n        _describe command commands\n        ;;\n    rest)\n        case $line[1] in\n")
	for _, c := range p.Commands {
		if len(c.Options) > 0 {
			fmt.Fprintf(&b, "        %s) _arguments %s ;;\n", c.Name, strings.Join(names(c.Options), " "))
		}
	}
	fmt.Fprintf(&b, "        esac\n        ;;\n    esac\n}\n_%s \"$@\"\n", p.Name)
	return b.String()
}

func (p Program) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# fish completion of %s, made of its help by \"make generate\".\ncomplete -c %s -f\n", p.Name, p.Name)
	for _, o := range p.Options {
		value := ""
		if o.Name == "--root" {
			value = " -x -a '(__fish_complete_directories)'"
		}
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -l %s%s\n", p.Name, strings.TrimPrefix(o.Name, "--"), value)
	}
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "complete -c %s -n __fish_use_subcommand -a %s -d '%s'\n", p.Name, c.Name, strings.ReplaceAll(c.Short, "'", ""))
		for _, o := range c.Options {
			fmt.Fprintf(&b, "complete -c %s -n '__fish_seen_subcommand_from %s' -l %s\n", p.Name, c.Name, strings.TrimPrefix(o.Name, "--"))
		}
	}
	return b.String()
}
