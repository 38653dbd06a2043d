// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// texts are all string literals of our programs, in which a format's verbs count
// as text that differs.
func texts(t *testing.T, root string) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 || d.Name() == "tools" || d.Name() == "test") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					all.WriteString(text + "\n")
				}
			}
			return true
		})
		return nil
	}))
	return all.String()
}

// What docs/troubleshooting.md quotes is what the programs say.
func TestTroubleshootingQuotesRealTexts(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	require.NoError(t, err)
	all := texts(t, "../..")
	quote := regexp.MustCompile("`([^`]+)`")
	quoted := 0
	table := ""
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			continue
		}
		first := strings.TrimSpace(cells[1])
		if strings.HasPrefix(first, "message") || strings.HasPrefix(first, "symptom") || strings.HasPrefix(first, "on the server") || strings.HasPrefix(first, "where") {
			table = first
			continue
		}
		if strings.HasPrefix(table, "where") || strings.HasPrefix(first, "(Packer") || strings.Contains(cells[2], "(the AWS SDK:)") {
			continue // not texts of ours
		}
		for _, m := range quote.FindAllStringSubmatch(first, -1) {
			for part := range strings.SplitSeq(m[1], "…") {
				part = strings.TrimSpace(part)
				if len(strings.Fields(part)) < 2 {
					continue // a name or a word
				}
				quoted++
				require.True(t, strings.Contains(all, part), "no program says %q: %s", part, line)
			}
		}
	}
	require.Greater(t, quoted, 30)
}

// Every page of the manual is in its index, and every link of it leads somewhere.
func TestIndex(t *testing.T) {
	index, err := os.ReadFile("../../docs/README.md")
	require.NoError(t, err)
	list, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	link := regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	for _, page := range append(list, "../../README.md", "../../CONTRIBUTING.md") {
		name := filepath.Base(page)
		if name != "README.md" && name != "CONTRIBUTING.md" {
			require.Contains(t, string(index), "("+name+")", "docs/README.md lists each page")
		}
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if m[1] == "" || strings.Contains(m[1], "://") {
				continue
			}
			require.FileExists(t, filepath.Join(filepath.Dir(page), m[1]), "%s links to %s", page, m[1])
		}
	}
}
