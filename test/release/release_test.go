// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package release tests what a release is made of: its names, the plugin's
// installation by Packer, and the agent's packages on a machine.
package release

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/plugin"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/rightimage/packer-plugin-rightimage/test/chain"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

const repo = "../.."

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("RIGHTIMAGE_E2E") == "" {
		t.Skip("needs what 'make test' builds; set RIGHTIMAGE_E2E=1")
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	needE2E(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repo, name))
	require.NoError(t, err)
	return string(text)
}

// Packer takes plugins by the version of its plugin protocol, which is the SDK's
// to say.
func TestAPIVersion(t *testing.T) {
	require.Contains(t, read(t, ".goreleaser.yml"), "  - API_VERSION=x"+plugin.APIVersionMajor+"."+plugin.APIVersionMinor+"\n")
}

// Everything that is built is built for all that it runs on, and has a bill of
// materials and a checksum.
func TestWhatIsBuilt(t *testing.T) {
	var config struct {
		Builds []struct {
			ID, Main     string
			GOOS, GOARCH []string
		}
		Archives []struct {
			ID  string
			IDs []string
		}
		SBOMs    []struct{ ID, Artifacts string }
		Checksum struct {
			IDs        []string
			ExtraFiles []struct{ Glob string } `yaml:"extra_files"`
		}
		Release struct {
			ExtraFiles []struct{ Glob string } `yaml:"extra_files"`
		}
		Signs []struct{ Artifacts string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, ".goreleaser.yml")), &config))
	want := map[string][]string{
		"plugin": {"linux", "darwin", "windows"}, "rightimage": {"linux"}, "rightscaled": {"linux"}, "bootstrap": {"linux"}, "rightlink": {"linux"},
	}
	for _, b := range config.Builds {
		require.Equal(t, want[b.ID], b.GOOS, b.ID)
		require.Equal(t, []string{"amd64", "arm64"}, b.GOARCH, b.ID)
		delete(want, b.ID)
	}
	require.Empty(t, want, "nothing is left out")
	var archived, summed []string
	for _, a := range config.Archives {
		archived, summed = append(archived, a.IDs...), append(summed, a.ID)
	}
	for _, b := range config.Builds {
		require.Contains(t, archived, b.ID)
	}
	require.ElementsMatch(t, append(summed, config.SBOMs[0].ID), config.Checksum.IDs)
	require.Equal(t, "binary", config.SBOMs[0].Artifacts)
	require.Equal(t, "checksum", config.Signs[0].Artifacts)
	require.Equal(t, "./dist/packages/*", config.Checksum.ExtraFiles[0].Glob)
	require.Equal(t, config.Checksum.ExtraFiles, config.Release.ExtraFiles)
}

// A workflow, a hook and a manual call only targets that there are.
func TestTargets(t *testing.T) {
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(read(t, "GNUmakefile"), -1) {
		targets[m[1]] = true
	}
	var files []string
	for _, pattern := range []string{".github/workflows/*.yml", ".goreleaser.yml", "*.md", "docs/*.md"} {
		list, err := filepath.Glob(filepath.Join(repo, pattern))
		require.NoError(t, err)
		files = append(files, list...)
	}
	calls := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile("(?m)(?:^\\s*(?:- )?(?:run: )?|`)make ([a-z][a-z -]*?)(?: #.*| &&.*|`.*)?$").FindAllStringSubmatch(string(text), -1) {
			for target := range strings.FieldsSeq(m[1]) {
				calls++
				require.True(t, targets[target], "%s calls \"make %s\"", file, target)
			}
		}
	}
	require.Greater(t, calls, 10)
}

// The plugin's own list of components is what the registry of integrations is told.
func TestComponents(t *testing.T) {
	needE2E(t)
	out, err := exec.Command(filepath.Join(repo, "bin", "packer-plugin-rightimage"), "describe").Output()
	require.NoError(t, err)
	var d struct {
		Version        string   `json:"version"`
		APIVersion     string   `json:"api_version"`
		Builders       []string `json:"builders"`
		Provisioners   []string `json:"provisioners"`
		PostProcessors []string `json:"post_processors"`
		DataSources    []string `json:"datasources"`
	}
	require.NoError(t, json.Unmarshal(out, &d))
	require.Equal(t, version.String(), d.Version)
	var want, got []string
	for kind, names := range map[string][]string{"builder": d.Builders, "provisioner": d.Provisioners, "post-processor": d.PostProcessors, "data-source": d.DataSources} {
		for _, name := range names {
			if name == plugin.DEFAULT_NAME {
				name = "rightimage"
			}
			want = append(want, kind+" "+name)
		}
	}
	for _, m := range regexp.MustCompile(`type = "(.*)"\n    name = ".*"\n    slug = "(.*)"`).FindAllStringSubmatch(read(t, ".web-docs/metadata.hcl"), -1) {
		got = append(got, m[1]+" "+m[2])
		require.FileExists(t, filepath.Join(repo, ".web-docs", "components", m[1], m[2], "README.md"))
	}
	require.ElementsMatch(t, want, got)
}

// The plugin out of a zip, named as a release names it, is installed by Packer for
// a new user, and templates find it.
func TestPluginInstall(t *testing.T) {
	needE2E(t)
	name := fmt.Sprintf("packer-plugin-rightimage_v%s_x%s.%s_%s_%s", version.String(), plugin.APIVersionMajor, plugin.APIVersionMinor, runtime.GOOS, runtime.GOARCH)
	dir := t.TempDir()
	file := throughZip(t, dir, name)
	cache := os.Getenv("RIGHTIMAGE_CACHE")
	if cache == "" {
		cache = filepath.Join(repo, ".cache")
	}
	program, err := chain.Lookup(filepath.Join(cache, "bin", "packer"), "packer")
	require.NoError(t, err)
	if program, err = filepath.Abs(program); err != nil {
		t.Fatal(err)
	}
	packer := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + filepath.Join(dir, "home"), "PATH=" + os.Getenv("PATH"), "CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1"}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	packer("plugins", "install", "--path", file, "github.com/rightimage/rightimage")
	installed := strings.TrimSpace(packer("plugins", "installed"))
	require.Equal(t, name, filepath.Base(installed))
	require.FileExists(t, installed+"_SHA256SUM")

	examples, err := filepath.Abs(filepath.Join(repo, "example"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "disk.raw"), []byte("x"), 0o644))
	for template, args := range map[string][]string{
		"rightimage.pkr.hcl":     {"-var", "base_disk=disk.raw"},
		"rightimage-ebs.pkr.hcl": {"-var", "source_ami=ami-0123456789abcdef0"},
		"public/public.pkr.hcl":  {"-var", "source=disk.raw", "-var", "checksum=none", "-var", `regions=["us-east-1"]`},
	} {
		packer(append(append([]string{"validate"}, args...), filepath.Join(examples, template))...)
	}
}

// throughZip packs the built plugin as a release does, and unpacks it.
func throughZip(t *testing.T, dir, name string) string {
	t.Helper()
	plain, err := os.ReadFile(filepath.Join(repo, "bin", "packer-plugin-rightimage"))
	require.NoError(t, err)
	archive, err := os.Create(filepath.Join(dir, name+".zip"))
	require.NoError(t, err)
	w := zip.NewWriter(archive)
	entry, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	require.NoError(t, err)
	_, err = entry.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, archive.Close())

	r, err := zip.OpenReader(archive.Name())
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	from, err := r.Open(name)
	require.NoError(t, err)
	to, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(to, from)
	require.NoError(t, err)
	require.NoError(t, to.Close())
	return to.Name()
}
