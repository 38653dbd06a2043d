// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package chain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Catalogue is what rightimage-catalog.json says, as far as the chain needs it.
type Catalogue struct {
	Images map[string]struct {
		ImageID     string   `json:"image_id"`
		SnapshotIDs []string `json:"snapshot_ids"`
	} `json:"images"`
}

// The init systems that example/base makes a disk with.
const (
	Systemd  = "systemd"
	SysVInit = "sysvinit"
	OpenRC   = "openrc"
)

// BaseDisk returns the raw disk made by example/base with an init system, from
// the cache when the recipe has not changed.
func (e *Env) BaseDisk(ctx context.Context, initSystem string) (string, error) {
	recipe := filepath.Join(e.Repo, "example", "base")
	sum, err := hashTree(recipe)
	if err != nil {
		return "", err
	}
	disk := filepath.Join(e.Cache, "base-"+initSystem+"-"+sum[:12]+".raw")
	if _, err := os.Stat(disk); err == nil {
		e.Say("base disk: %s (from the cache)", disk)
		return disk, nil
	}
	e.Say("base disk: building a minimal Debian 12 with %s and mmdebstrap", initSystem)
	if _, err := e.Command(ctx, []string{"BASE_INIT=" + initSystem}, filepath.Join(recipe, "build.sh"), disk); err != nil {
		return "", err
	}
	return disk, nil
}

func hashTree(dir string) (string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && !strings.HasSuffix(path, ".md") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	sort.Strings(files)
	h := sha256.New()
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(f), len(data))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Packer returns a packer program: the one that make built, else the one on
// PATH.
func (e *Env) Packer() (string, error) {
	return Lookup(filepath.Join(e.Cache, "bin", "packer"), "packer")
}

// PackerEnv gives Packer a configuration folder of its own, with our plugin
// installed, so that the user's own is neither used nor changed.
func (e *Env) PackerEnv(ctx context.Context) ([]string, error) {
	dir := filepath.Join(e.Work, "packer")
	env := []string{
		"PACKER_CONFIG_DIR=" + dir,
		"PACKER_PLUGIN_PATH=" + filepath.Join(dir, "plugins"),
		"PACKER_CACHE_DIR=" + filepath.Join(dir, "cache"),
		"CHECKPOINT_DISABLE=1",
		"PACKER_NO_COLOR=1",
	}
	packer, err := e.Packer()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "plugins")); err == nil {
		return env, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	_, err = e.Command(ctx, env, packer, "plugins", "install", "--path", e.Bin("packer-plugin-rightimage"), "github.com/rightimage/rightimage")
	return env, err
}

// DemoTemplate is the template of the demo image.
func (e *Env) DemoTemplate() string { return filepath.Join(e.Repo, "example", "rightimage.pkr.hcl") }

// Build runs "packer build" on a template with the given variables and
// environment, and reads the catalogue that it leaves in output.
func (e *Env) Build(ctx context.Context, template, output string, env []string, vars map[string]string) (Catalogue, error) {
	var c Catalogue
	packer, err := e.Packer()
	if err != nil {
		return c, err
	}
	base, err := e.PackerEnv(ctx)
	if err != nil {
		return c, err
	}
	args := []string{"build", "-color=false", "-var", "output_directory=" + output}
	for k, v := range vars {
		args = append(args, "-var", k+"="+v)
	}
	if _, err := e.Command(ctx, append(base, env...), packer, append(args, template)...); err != nil {
		return c, err
	}
	data, err := os.ReadFile(filepath.Join(output, "rightimage-catalog.json"))
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(data, &c)
}

// Attachments fetches the packages that the example ServerTemplates carry.
func (e *Env) Attachments(ctx context.Context) error {
	script := filepath.Join(e.Repo, "example", "servertemplates", "fetch-packages.sh")
	_, err := e.Command(ctx, nil, script, filepath.Join(e.Cache, "debs"))
	return err
}
