// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

func dir(name string, children ...*cloud.Tree) *cloud.Tree {
	return &cloud.Tree{Name: name, Dir: true, Children: children}
}

func value(name, v string) *cloud.Tree { return &cloud.Tree{Name: name, Value: v} }

func write(t testing.TB, root string, in Input) bool {
	t.Helper()
	changed, err := Write(root, in)
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// read returns every file below the spool, and fails on a wrong mode.
func read(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(Dir(root), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: dirMode, false: fileMode}[e.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if e.IsDir() {
			return nil
		}
		rel, _ := filepath.Rel(Dir(root), path)
		data, err := os.ReadFile(path)
		files[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestProtocolExample is the example of the protocol notes, except that "$" is
// escaped in the shell file.
func TestProtocolExample(t *testing.T) {
	root := t.TempDir()
	raw := `RS_rn_id=7&note=say "hi" $X`
	in := Input{UserData: userdata.Parse([]byte(raw)), EnvPrefix: "EC2_", MetaData: dir("",
		value("instance-id", "i-1"), dir("placement", value("availability-zone", "us-east-1a")),
		dir("public-keys", dir("0", value("openssh-key", "ssh-rsa A\n"))))}
	if !write(t, root, in) {
		t.Error("a first write must count as a change")
	}
	want := map[string]string{
		"user-data.raw":                         raw,
		"user-data.dict":                        "RS_RN_ID=7\nRS_NOTE=say \"hi\" $X\n",
		"user-data.json":                        `{"RS_rn_id":"7","note":"say \"hi\" $X"}`,
		"user-data.rb":                          rubyHead + "ENV['RS_RN_ID']='7'\nENV['RS_NOTE']='say \"hi\" $X'\n",
		"user-data.sh":                          shHead + "export RS_RN_ID=\"7\"\nexport RS_NOTE=\"say \\\"hi\\\" \\$X\"\n",
		"user-data/RS_rn_id":                    "7",
		"user-data/note":                        `say "hi" $X`,
		"meta-data.dict":                        "EC2_INSTANCE_ID=i-1\nEC2_PLACEMENT_AVAILABILITY_ZONE=us-east-1a\nEC2_PUBLIC_KEYS_0_OPENSSH_KEY=ssh-rsa A\n",
		"meta-data.json":                        `{"instance-id":"i-1","placement":{"availability-zone":"us-east-1a"},"public-keys":{"0":{"openssh-key":"ssh-rsa A\n"}}}`,
		"meta-data-cache.rb":                    rubyHead + "ENV['EC2_INSTANCE_ID']='i-1'\nENV['EC2_PLACEMENT_AVAILABILITY_ZONE']='us-east-1a'\nENV['EC2_PUBLIC_KEYS_0_OPENSSH_KEY']='ssh-rsa A\n'\n",
		"meta-data.sh":                          shHead + "export EC2_INSTANCE_ID=\"i-1\"\nexport EC2_PLACEMENT_AVAILABILITY_ZONE=\"us-east-1a\"\nexport EC2_PUBLIC_KEYS_0_OPENSSH_KEY=\"ssh-rsa A\n\"\n",
		"meta-data.rb":                          string(refreshRuby()),
		"meta-data/instance-id":                 "i-1",
		"meta-data/placement/availability-zone": "us-east-1a",
		"meta-data/public-keys/0/openssh-key":   "ssh-rsa A\n",
	}
	if got := read(t, root); !reflect.DeepEqual(got, want) {
		for k := range want {
			if got[k] != want[k] {
				t.Errorf("%s:\n got %q\nwant %q", k, got[k], want[k])
			}
			delete(got, k)
		}
		t.Errorf("more files: %v", got)
	}
	if write(t, root, in) {
		t.Error("the same generation must not count as a change")
	}
}

func TestEnvName(t *testing.T) {
	tests := []struct {
		prefix, path, want string
	}{
		{"RS_", "RS_rn_id", "RS_RN_ID"},
		{"RS_", "rs_breakpoint", "RS_BREAKPOINT"},
		{"RS_", "my-role", "RS_MY_ROLE"},
		{"EC2_", "placement/availability-zone", "EC2_PLACEMENT_AVAILABILITY_ZONE"},
		{"EC2_", "public-keys/0/openssh-key", "EC2_PUBLIC_KEYS_0_OPENSSH_KEY"},
		{"SL_", "instance-id", "SL_INSTANCE_ID"},
		{"EC2_", "ec2_foo", "EC2_FOO"},
		{"EC2_", "rs_foo", "RS_FOO"},
		{"RS_", "PATH", "RS_PATH"},
		{"RS_", "ü\xff x", "RS____X"},
		{"RS_", "a=b;$(id)", "RS_A_B___ID_"},
	}
	for _, tc := range tests {
		if got := EnvName(tc.prefix, strings.Split(tc.path, "/")...); got != tc.want {
			t.Errorf("%s %s: got %s, want %s", tc.prefix, tc.path, got, tc.want)
		}
	}
}

func TestNoPairs(t *testing.T) {
	for _, raw := range []string{"", "#!/bin/sh\necho a=b\n"} {
		root := t.TempDir()
		write(t, root, Input{UserData: userdata.Parse([]byte(raw)), MetaData: &cloud.Tree{Dir: true}})
		if got := read(t, root); len(got) != 1 || got["user-data.raw"] != raw {
			t.Errorf("got %q", got)
		}
	}
}

// TestHostileNames: no key can leave the spool or name another variable.
func TestHostileNames(t *testing.T) {
	long := strings.Repeat("k", 5000)
	root := t.TempDir()
	tree := dir("", value("../../../etc/passwd", "1"), value("..", "2"), value(".", "3"), value("", "4"), value("a\x00b\n", "5"), value(long, "6"),
		value("both", "leaf"), dir("both", value("in", "7")), value("x", "8"), value("x", "9"), dir("..", value("..", "10")))
	write(t, root, Input{MetaData: tree, EnvPrefix: "EC2_"})
	got := read(t, root)
	want := map[string]string{
		"meta-data/..%2F..%2F..%2Fetc%2Fpasswd": "1", "meta-data/%2E": "3", "meta-data/%": "4", "meta-data/a%00b%0A": "5",
		"meta-data/both/in": "7", "meta-data/x": "9", "meta-data/%2E%2E/%2E%2E": "10", "meta-data/" + fileName(long): "6",
	}
	for path, data := range got {
		if strings.HasPrefix(path, "meta-data/") && want[path] != data {
			t.Errorf("%q holds %q", path, data)
		}
		delete(want, path)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	for name := range walkAll(t, root) {
		if name != "." && name != "var" && name != "var/spool" && !strings.HasPrefix(name, "var/spool/cloud") {
			t.Errorf("%s is outside the spool", name)
		}
	}
}

func walkAll(t *testing.T, root string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		found[rel] = true
		return err
	})
	return found
}

// TestLegacyLink: /var/spool/ec2 is a link to the spool; what an operator put
// there survives, everything else of the old generation goes.
func TestLegacyLink(t *testing.T) {
	root := t.TempDir()
	write(t, root, Input{UserData: userdata.Parse([]byte("old=1")), MetaData: dir("", value("gone", "1"))})
	link := filepath.Join(root, "var/spool/ec2")
	if err := os.Symlink("cloud", link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(link, "user-data.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "var/spool/.cloud.left"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, root, Input{UserData: userdata.Parse([]byte("new=1"))})
	got := read(t, root)
	if got["user-data.txt"] != "mine" || got["user-data.raw"] != "new=1" || got["meta-data/gone"] != "" || got["user-data/old"] != "" {
		t.Errorf("got %v", got)
	}
	if data, err := os.ReadFile(filepath.Join(link, "user-data.sh")); err != nil || !strings.Contains(string(data), "RS_NEW") {
		t.Errorf("through the link: %q %v", data, err)
	}
	if entries, _ := os.ReadDir(filepath.Join(root, "var/spool")); len(entries) != 2 {
		t.Errorf("leftovers: %v", entries)
	}
	if err := Wipe(root); err != nil {
		t.Fatal(err)
	}
	if got := read(t, root); len(got) != 0 {
		t.Errorf("after Wipe: %v", got)
	}
	if err := Wipe(t.TempDir()); err != nil {
		t.Errorf("Wipe without a spool: %v", err)
	}
}

// TestDirectoryInTheWay: a link or a file at the spool's place is replaced and
// never followed.
func TestDirectoryInTheWay(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/spool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, Dir(root)); err != nil {
		t.Fatal(err)
	}
	write(t, root, Input{UserData: userdata.Parse([]byte("a=1"))})
	if entries, _ := os.ReadDir(other); len(entries) != 0 {
		t.Errorf("the link was followed: %v", entries)
	}
	if read(t, root)["user-data.raw"] != "a=1" {
		t.Error("not written")
	}
}

// TestTooLargeForTheEnvironment: such a variable would keep every later program
// from starting.
func TestTooLargeForTheEnvironment(t *testing.T) {
	root := t.TempDir()
	write(t, root, Input{UserData: userdata.Parse([]byte("big=" + strings.Repeat("x", 200<<10) + "&small=1"))})
	got := read(t, root)
	for _, f := range []string{"user-data.sh", "user-data.rb"} {
		if len(got[f]) > 1000 || !strings.Contains(got[f], "RS_SMALL") || !strings.Contains(got[f], "# left out") {
			t.Errorf("%s: %d bytes", f, len(got[f]))
		}
	}
	if len(got["user-data/big"]) != 200<<10 {
		t.Error("the tree must have it")
	}
}

func TestNoPermission(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "var"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var pathErr *fs.PathError
	if _, err := Write(root, Input{}); !errors.As(err, &pathErr) {
		t.Errorf("got %v", err)
	}
}
