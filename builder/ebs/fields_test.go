// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every option is read by something that builds, not only by the checks.
func TestEveryOptionIsRead(t *testing.T) {
	read := map[string]bool{}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, f := range files {
		name := f.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "hcl2spec.go") || name == "rules.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.Name == "setDefaults" || strings.HasPrefix(fn.Name.Name, "check") && name == "prepare.go" {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					read[s.Sel.Name] = true
				}
				return true
			})
		}
	}
	for _, group := range []reflect.Type{
		reflect.TypeFor[SourceConfig](), reflect.TypeFor[AMIFilter](), reflect.TypeFor[MachineConfig](), reflect.TypeFor[NetworkConfig](),
		reflect.TypeFor[Filter](), reflect.TypeFor[SubnetFilter](), reflect.TypeFor[ConnectConfig](),
	} {
		require.NotZero(t, group.NumField())
		for i := range group.NumField() {
			require.True(t, read[group.Field(i).Name], "%s.%s is not read: an option without an effect", group.Name(), group.Field(i).Name)
		}
	}
}
