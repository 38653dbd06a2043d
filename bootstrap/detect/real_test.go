// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestRealReleases reads the files that the distributions ship.
func TestRealReleases(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/releases.txtar")
	if err != nil || len(archive.Files) == 0 {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		r, err := Detect(makeRoot(t, files{"etc/os-release": string(f.Data), "bin/sh": program(amd64)}))
		got := strings.Join([]string{r.Seed.Distro, r.Seed.BaseOS, r.Seed.OSVersion, r.Seed.Suffix, r.Seed.Arch}, " ") + "|" +
			r.Agent.Distro + " " + r.Agent.Arch + "|" + strings.TrimSpace(r.ID+" "+r.Version+" "+r.Codename)
		if got != strings.TrimSpace(f.Name) || err != nil {
			t.Errorf("\n got %q\nwant %q (%v)", got, f.Name, err)
		}
	}
}
