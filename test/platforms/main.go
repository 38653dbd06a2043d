// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command platforms checks the types of the plugin for the systems that it is
// released for and that no test runs on. That finds what would not compile there
// in a tenth of the time that compiling takes.
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	for _, platform := range []string{"darwin/arm64", "windows/amd64"} {
		system, processor, _ := strings.Cut(platform, "/")
		plugin, err := packages.Load(&packages.Config{
			Mode: packages.LoadAllSyntax,
			Env:  append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+processor),
		}, ".")
		if err != nil {
			fmt.Fprintln(os.Stderr, "platforms:", err)
			os.Exit(1)
		}
		if packages.PrintErrors(plugin) > 0 {
			fmt.Fprintf(os.Stderr, "platforms: the plugin does not compile for %s\n", platform)
			os.Exit(1)
		}
	}
}
