// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

const childEnv = "SPOOL_TEST_CHILD"

// generation is a spool whose files all hold the same word.
func generation(word string) Input {
	in := Input{UserData: userdata.Parse([]byte("word=" + word)), EnvPrefix: "EC2_", MetaData: dir("")}
	for _, k := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		in.MetaData.Children = append(in.MetaData.Children, value(k, word))
	}
	return in
}

// TestKilledWriter kills a process that writes two generations in turn, at many
// moments, and always finds one of them, whole.
func TestKilledWriter(t *testing.T) {
	if root := os.Getenv(childEnv); root != "" {
		for {
			for _, word := range []string{"odd", "even"} {
				if _, err := Write(root, generation(word)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	root := t.TempDir()
	write(t, root, generation("odd"))
	for i := range 25 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), childEnv+"="+root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*time.Millisecond + time.Duration(i)*3*time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		got := read(t, root)
		word := strings.TrimPrefix(got["user-data.raw"], "word=")
		if (word != "odd" && word != "even") || !same(Dir(root), append(userDataFiles(generation(word).UserData),
			metaDataFiles(generation(word).MetaData, "EC2_")...)) {
			t.Fatalf("mixed or broken generation after kill %d: %q", i, got)
		}
	}
	write(t, root, generation("last"))
	if entries, _ := os.ReadDir(filepath.Join(root, "var/spool")); len(entries) != 1 {
		t.Errorf("leftovers: %v", entries)
	}
}
