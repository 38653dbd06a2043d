// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package depcheck keeps the agents small and the wire types portable: it
// reads what the programs really link.
package depcheck

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/rightimage/packer-plugin-rightimage"

// rule says what a package may not link.
type rule struct {
	pkg string
	// forbidden are prefixes of import paths.
	forbidden []string
	// onlyStandard allows nothing but the standard library.
	onlyStandard bool
}

func rules() []rule {
	agents := []string{
		"github.com/hashicorp/", "github.com/spf13/", "github.com/zclconf/",
		"github.com/aws/aws-sdk-go-v2/service/", "github.com/aws/aws-sdk-go/",
		"github.com/goreleaser/", "github.com/theupdateframework/", "github.com/sigstore/", "modernc.org/", "github.com/go-chi/", "github.com/stretchr/",
		module + "/builder", module + "/provisioner", module + "/local", module + "/mirror", module + "/verify",
		module + "/internal/agents", module + "/internal/awsx", module + "/platform/api", module + "/platform/store",
	}
	rightlink := append([]string{"github.com/aws/", module + "/bootstrap"}, agents...)
	bootstrap := append([]string{module + "/rightlink"}, agents...)
	return []rule{
		{pkg: "cmd/rightlink", forbidden: rightlink},
		{pkg: "cmd/bootstrap", forbidden: bootstrap},
		{pkg: "platform/wire", onlyStandard: true},
	}
}

func TestImports(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules() {
		t.Run(r.pkg, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(root, r.pkg)); os.IsNotExist(err) {
				t.Skip("not there yet")
			}
			for _, dep := range deps(t, root, r.pkg) {
				path, standard, _ := strings.Cut(dep, " ")
				if r.onlyStandard && standard != "true" && path != module+"/"+r.pkg {
					t.Errorf("%s links %s; only the standard library is allowed", r.pkg, path)
				}
				for _, prefix := range r.forbidden {
					if strings.HasPrefix(path, prefix) {
						t.Errorf("%s links %s, which it must not", r.pkg, path)
					}
				}
			}
		})
	}
}

// deps lists all packages that pkg links as "path standard".
func deps(t *testing.T, root, pkg string) []string {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}}", "./"+pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
