// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command docgen fills the tables of docs/*.md, and of the pages that commands
// carry as their help, from the code, so that an option is described once: in
// the comment of its field. It replaces what stands between a line
//
//	<!-- options: DIRECTORY TYPE -->
//
// and the next line <!-- end -->, and likewise after <!-- iam: PART -->, where
// PART is publish, ebs or sweep. After <!-- checks --> comes the table of what
// verify checks. Then it writes .web-docs, for the registry of integrations, of
// the same pages.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/builder/ebs"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/sweep"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/verify"
)

func main() {
	log.SetFlags(0)
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err == nil && len(pages) == 0 {
		err = fmt.Errorf("no pages in %s", filepath.Join(root, "docs"))
	}
	help, _ := filepath.Glob(filepath.Join(root, "cmd", "*", "*.md")) // the pattern is a good one
	pages = append(pages, help...)
	for _, page := range pages {
		if err == nil {
			err = render(root, page)
		}
	}
	if err == nil {
		err = web(root)
	}
	if err != nil {
		log.Fatalln("docgen:", err)
	}
}

// section matches a marker, what stands after it, and its end.
func section() *regexp.Regexp {
	return regexp.MustCompile(`(?s)(<!-- (?:options: (\S+) (\S+)|iam: (\S+)|(checks)) -->\n).*?(<!-- end -->)`)
}

func render(root, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	var failed error
	out := section().ReplaceAllStringFunc(string(text), func(s string) string {
		m := section().FindStringSubmatch(s)
		var body string
		var err error
		switch {
		case m[5] != "":
			body = verify.Markdown()
		case m[4] != "":
			body, err = policy(m[4])
		default:
			body, err = options(filepath.Join(root, m[2]), m[3])
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", page, err)
		}
		return m[1] + body + m[6]
	})
	if failed != nil || out == string(text) {
		return failed
	}
	return atomicfile.Write(page, []byte(out), 0o644)
}

// policy renders the IAM policy of a part.
func policy(part string) (string, error) {
	parts := map[string]func() string{"publish": publish.IAMPolicy, "ebs": ebs.IAMPolicy, "sweep": sweep.IAMPolicy}
	render, ok := parts[part]
	if !ok {
		return "", fmt.Errorf("there is no policy %q", part)
	}
	return "```json\n" + render() + "\n```\n", nil
}

// options renders the fields of a struct that have a mapstructure name.
func options(dir, name string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return "", err
		}
		obj := tree.Scope.Lookup(name) // types are not needed, names are
		if obj == nil {
			continue
		}
		if spec, ok := obj.Decl.(*ast.TypeSpec); ok {
			if st, ok := spec.Type.(*ast.StructType); ok {
				return table(st), nil
			}
		}
	}
	return "", fmt.Errorf("no struct %s in %s", name, dir)
}

func table(st *ast.StructType) string {
	var b strings.Builder
	b.WriteString("| option | type | meaning |\n|---|---|---|\n")
	for _, f := range st.Fields.List {
		name := optionName(f)
		if name == "" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, typeName(f.Type), oneLine(f.Doc.Text()))
	}
	return b.String()
}

func optionName(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("mapstructure"), ",")
	return strings.TrimPrefix(name, "-")
}

// oneLine makes a comment fit a table's cell; example blocks are left out.
func oneLine(doc string) string {
	if i := strings.Index(doc, "```"); i >= 0 {
		doc = strings.TrimSuffix(strings.TrimSpace(doc[:i]), "Default:")
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), "|", "\\|")
}

func typeName(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.Ident:
		switch t.Name {
		case "int", "int64":
			return "number"
		case "string", "bool":
			return t.Name
		}
		return "block"
	case *ast.ArrayType:
		return "list of " + typeName(t.Elt)
	case *ast.MapType:
		return "map of " + typeName(t.Value)
	case *ast.SelectorExpr:
		switch t.Sel.Name {
		case "Trilean":
			return "bool"
		case "Duration":
			return "duration"
		case "KeyValues":
			return "blocks"
		}
	}
	return "block"
}
