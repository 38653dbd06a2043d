// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package spool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
)

// hostile are values that would do harm, or get lost, with one layer of quoting
// less. Each command in them would make the file CANARY.
func hostile(canary string) []string {
	cmd := "touch " + canary
	var every strings.Builder
	for i := 1; i < 256; i++ {
		every.WriteByte(byte(i))
	}
	values := []string{
		"", " ", "plain", "two words", `"`, `'`, `\`, `\\`, `\"`, `\'`, `\n`, `\$HOME`, "\\`", "a\\", "$", "$$", "$HOME", "${HOME}", "!!", "!x", "~", "*", "#x",
		"%s%n", "-n", "line 1\nline 2\n", "\n", "\\\nx", "\r", "a\r\nb\r", "tab\there", "ü – 漢字 🙂", "\xff\xfe", "caf\xe9", "\xc3", "\xef\xbb", "\ufeffx",
		"nul\x00inside", every.String(), "__END__", "a\n__END__\nb", "=begin\nx\n=end", "EOF\n", "#{`" + cmd + "`}", "<%= `" + cmd + "` %>",
		strings.Repeat("long ", 4000),
	}
	for _, around := range []string{"$(%s)", "`%s`", "${x:-$(%s)}", "$((`%s`))", `"; %s; "`, `'; %s; '`, `\"; %s #`, "\n%s\n", "; %s", "| %s", "& %s", `'+%%x(%s)+'`,
		"\"\n%s\n\"", "$'\\n%s'", `\$(%s)`, "\\\\`%s`", `<(%s)`, `>%[1]s`, `{"a":"$(%s)"}`, "a[$(%s)]"} {
		values = append(values, fmt.Sprintf(around, cmd))
	}
	return values
}

// hostileInput holds the values as user-data and as metadata, and hostile keys.
func hostileInput(canary string) Input {
	in := Input{EnvPrefix: "EC2_", MetaData: dir("")}
	for i, v := range hostile(canary) {
		key := fmt.Sprintf("k%d", i)
		in.UserData.Pairs = append(in.UserData.Pairs, userdata.Pair{Key: key, Value: v})
		in.MetaData.Children = append(in.MetaData.Children, dir("d"+key, value(key, v)), value(key, v))
	}
	for i, key := range []string{"$(touch " + canary + ")", "`touch " + canary + "`", "../x", "", "a'b", `a"b`, `a\b`, "a\nb", "a b", "é", "\xff", "a=b", "a;touch " + canary + ";",
		strings.Repeat("long", 2000), "#x", "']=1;`touch " + canary + "`;ENV['x"} {
		in.UserData.Pairs = append(in.UserData.Pairs, userdata.Pair{Key: key, Value: fmt.Sprint(i)})
	}
	in.UserData.Raw = []byte("raw")
	return in
}

// wantEnv is the environment that loading a file must give.
func wantEnv(prefix string, tree *cloud.Tree) map[string]string {
	want := map[string]string{}
	for _, v := range variables(prefix, leavesOf(tree)) {
		want[v.name] = strings.ReplaceAll(v.value, "\x00", "")
	}
	return want
}

func asTree(pairs []userdata.Pair) *cloud.Tree {
	t := dir("")
	for _, p := range pairs {
		t.Children = append(t.Children, value(p.Key, p.Value))
	}
	return t
}

// TestInterpreters loads the files into every shell on this machine and into
// Ruby, and compares the environment that a program started there sees.
func TestInterpreters(t *testing.T) {
	root, work := t.TempDir(), t.TempDir()
	canary := filepath.Join(work, "CANARY")
	in := hostileInput(canary)
	write(t, root, in)
	at := Dir(root)
	loaders := map[string][]string{"ruby": {"ruby", "-e", `load ARGV[0]; exec("env", "-0")`}}
	for _, sh := range []string{"sh", "bash", "dash", "zsh", "ksh", "mksh", "busybox"} {
		loaders[sh] = []string{sh, "-c", `. "$1"; exec env -0`, "sh"}
	}
	loaders["busybox"] = append([]string{"busybox", "sh"}, loaders["busybox"][1:]...)
	loaders["bash posix"] = []string{"bash", "--posix", "-c", `. "$1"; exec env -0`, "sh"}
	ran := 0
	for name, argv := range loaders {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("%s is not installed here", argv[0])
			continue
		}
		ran++
		files := map[string]map[string]string{
			"user-data.sh": wantEnv("RS_", asTree(in.UserData.Pairs)), "meta-data.sh": wantEnv("EC2_", in.MetaData),
		}
		if name == "ruby" {
			files = map[string]map[string]string{"user-data.rb": files["user-data.sh"], "meta-data-cache.rb": files["meta-data.sh"]}
		}
		for file, want := range files {
			for _, locale := range []string{"C", "C.UTF-8"} {
				t.Run(name+"/"+file+"/"+locale, func(t *testing.T) {
					checkEnv(t, work, locale, append(argv, filepath.Join(at, file)), want)
				})
			}
		}
	}
	if ran == 0 {
		t.Fatal("no shell and no ruby on this machine: nothing was tested")
	}
	noCanary(t, work)
}

func checkEnv(t *testing.T, work, locale string, argv []string, want map[string]string) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = work
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=" + locale, "HOME=" + work}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	got := map[string]string{}
	for kv := range strings.SplitSeq(string(out), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(k, "RS_") || strings.HasPrefix(k, "EC2_") {
			got[k] = v
		}
	}
	for k := range want {
		if v, ok := got[k]; !ok || v != want[k] {
			t.Errorf("%.40s: got %.200q %v, want %.200q", k, v, ok, want[k])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d variables, want %d", len(got), len(want))
	}
}

func noCanary(t *testing.T, work string) {
	t.Helper()
	entries, err := os.ReadDir(work)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was created: data was executed", e.Name())
	}
}

// TestJSONReaders reads the .json files with Python's and Ruby's own parsers
// and compares what they understood.
func TestJSONReaders(t *testing.T) {
	root, work := t.TempDir(), t.TempDir()
	in := hostileInput(filepath.Join(work, "CANARY"))
	write(t, root, in)
	readers := map[string][]string{
		"python3": {"python3", "-c", "import json,sys; json.dump(json.load(open(sys.argv[1], encoding='utf-8')), sys.stdout)"},
		"ruby":    {"ruby", "-rjson", "-e", "print JSON.generate(JSON.parse(File.read(ARGV[0], encoding: 'UTF-8')))"},
		"jq":      {"jq", "-c", "."},
	}
	ran := 0
	for name, argv := range readers {
		if _, err := exec.LookPath(argv[0]); err != nil {
			continue
		}
		ran++
		for file, tree := range map[string]*cloud.Tree{"user-data.json": asTree(in.UserData.Pairs), "meta-data.json": in.MetaData} {
			t.Run(name+"/"+file, func(t *testing.T) {
				out, err := exec.Command(argv[0], append(argv[1:], filepath.Join(Dir(root), file))...).Output()
				if err != nil {
					t.Fatal(err)
				}
				var got, want any
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatal(err)
				}
				want = asMap(tree)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got %.2000q\nwant %.2000q", got, want)
				}
			})
		}
	}
	if ran == 0 {
		t.Fatal("no JSON reader on this machine: nothing was tested")
	}
	noCanary(t, work)
}

func asMap(tree *cloud.Tree) any {
	if !tree.Dir {
		return string([]rune(tree.Value)) // each bad byte becomes U+FFFD
	}
	m := map[string]any{}
	for _, c := range tree.Children {
		m[string([]rune(c.Name))] = asMap(c)
	}
	return m
}

// TestRefreshRuby: loading meta-data.rb runs the refresh command once, without
// a shell, then loads the cache; when the command cannot run it raises.
func TestRefreshRuby(t *testing.T) {
	if _, err := exec.LookPath("ruby"); err != nil {
		t.Skip("ruby is not installed here")
	}
	root := t.TempDir()
	write(t, root, Input{MetaData: dir("", value("instance-id", "i-9")), EnvPrefix: "EC2_"})
	stub := filepath.Join(root, "stub")
	if err := os.WriteFile(stub, []byte("#!/bin/sh\necho \"$# $*\" >>"+root+"/calls\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(Dir(root), "meta-data.rb")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	program, _, _ := strings.Cut(RefreshCommand, " ")
	for _, tc := range []struct {
		program string
		ok      bool
	}{{stub, true}, {"/nonexistent/bootstrap", false}} {
		if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(program), []byte(tc.program)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ruby", "-e", "require ARGV[0]; print ENV['EC2_INSTANCE_ID']", path).Output()
		if (err == nil) != tc.ok || tc.ok && string(out) != "i-9" {
			t.Errorf("%s: %q %v", tc.program, out, err)
		}
	}
	if calls, err := os.ReadFile(filepath.Join(root, "calls")); err != nil || string(calls) != "2 rightscale refresh\n" {
		t.Errorf("calls %q %v", calls, err)
	}
}
