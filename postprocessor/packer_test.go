// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package postprocessor

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/local"
)

// startCloud starts a local cloud and returns its endpoint.
func startCloud(t *testing.T) string {
	t.Helper()
	s, err := local.New(local.Config{Listen: "127.0.0.1:0", StateDir: t.TempDir(), NoBoot: true, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s.Info().Endpoint
}

// makeDisk writes a raw disk that has a partition table's mark and some data.
func makeDisk(t *testing.T, path string) {
	t.Helper()
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * i >> 8)
	}
	data[510], data[511] = 0x55, 0xaa
	require.NoError(t, os.WriteFile(path, data, 0o600))
	require.NoError(t, os.Truncate(path, 64<<20))
}

func left(t *testing.T, endpoint, region string) int {
	t.Helper()
	f, err := awsx.New(t.Context(), awsx.Config{Region: region, AccessKey: "a", SecretKey: "b", EndpointURL: endpoint})
	require.NoError(t, err)
	images, err := f.EC2(region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	snapshots, err := f.EC2(region).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	require.NoError(t, err)
	return len(images.Images) + len(snapshots.Snapshots)
}

// The artifact is what post-processors that follow, and HCP Packer, see.
func TestArtifact(t *testing.T) {
	endpoint := startCloud(t)
	disk := filepath.Join(t.TempDir(), "disk.raw")
	makeDisk(t, disk)
	p := new(PostProcessor)
	require.NoError(t, p.Configure(map[string]any{
		"region": "eu-west-1", "regions": []string{"us-east-1"}, "ami_name": "abc", "family": "web", "endpoint_url": endpoint, "access_key": "a", "secret_key": "b",
		"aws_polling": map[string]any{"delay_seconds": 1},
	}))
	made, keep, force, err := p.PostProcess(t.Context(), &packersdk.MockUi{}, &packersdk.MockArtifact{FilesValue: []string{disk}})
	require.NoError(t, err)
	require.True(t, keep, "an AMI is no other form of the disk")
	require.False(t, force, "keep_input_artifact decides")
	require.Equal(t, BuilderID, made.BuilderId())
	require.Regexp(t, `^eu-west-1:ami-\w+,us-east-1:ami-\w+$`, made.Id())
	require.Empty(t, made.Files())
	registry, ok := made.State(registryimage.ArtifactStateURI).([]*registryimage.Image)
	require.True(t, ok)
	require.Len(t, registry, 2)
	for _, i := range registry {
		require.NoError(t, i.Validate())
	}
	require.Equal(t, 2, left(t, endpoint, "us-east-1"))
	require.NoError(t, made.Destroy())
	require.Zero(t, left(t, endpoint, "us-east-1")+left(t, endpoint, "eu-west-1"))
}

const publishTemplate = `
variable "disk" { type = string }
variable "endpoint" { type = string }
variable "keep" { default = null }
source "file" "disk" {
  source = var.disk
  target = "out/disk.qcow2"
}
build {
  sources = ["source.file.disk"]
  post-processors {
    post-processor "rightimage-publish" {
      keep_input_artifact = var.keep
      regions             = ["eu-west-1", "us-east-1"]
      ami_name            = "web {{isotime \"20060102\"}}"
      family              = "web"
      tags                = { Build = "{{build_name}}" }
      force_deregister    = true
      catalogue_file      = "catalogue.json"
      endpoint_url        = var.endpoint
      access_key          = "AKIATEST"
      secret_key          = "very-secret-value"
      aws_polling { delay_seconds = 1 }
    }
    post-processor "manifest" { output = "manifest.json" }
  }
}
`

const dataTemplate = `
variable "endpoint" { type = string }
variable "family" { default = "web" }
data "rightimage-ami" "ec2" {
  region       = "us-east-1"
  family       = var.family
  architecture = "x86_64"
  endpoint_url = var.endpoint
  access_key   = "AKIATEST"
  secret_key   = "very-secret-value"
}
data "rightimage-ami" "file" {
  region         = "us-east-1"
  family         = var.family
  catalogue_file = "catalogue.json"
}
source "null" "x" { communicator = "none" }
build {
  sources = ["source.null.x"]
  provisioner "shell-local" {
    inline = ["echo '<<${jsonencode([data.rightimage-ami.ec2, data.rightimage-ami.file])}>>'"]
  }
}
`

// TestPacker publishes a file with the real Packer, and finds it again.
func TestPacker(t *testing.T) {
	packer := findPacker(t)
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("qemu-img is missing (Debian: qemu-utils)")
	}
	endpoint, dir, state := startCloud(t), t.TempDir(), t.TempDir()
	run := func(args ...string) (string, error) {
		cmd := exec.Command(packer, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PACKER_CONFIG_DIR="+state, "PACKER_PLUGIN_PATH="+state+"/plugins", "PACKER_CACHE_DIR="+state+"/cache", "CHECKPOINT_DISABLE=1", "PACKER_NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		require.NotContains(t, string(out), "very-secret-value")
		return string(out), err
	}
	plugin := filepath.Join(t.TempDir(), "packer-plugin-rightimage")
	out, err := exec.Command("go", "build", "-o", plugin, "..").CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := run("plugins", "install", "--path", plugin, "github.com/rightimage/rightimage")
	require.NoError(t, err, text)
	makeDisk(t, filepath.Join(dir, "disk.raw"))
	require.NoError(t, exec.Command("qemu-img", "convert", "-O", "qcow2", dir+"/disk.raw", dir+"/disk.qcow2").Run())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "publish.pkr.hcl"), []byte(publishTemplate), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.pkr.hcl"), []byte(dataTemplate), 0o600))

	build := func(more ...string) []string {
		return append(append([]string{"build", "-var", "disk=disk.qcow2", "-var", "endpoint=" + endpoint}, more...), "publish.pkr.hcl")
	}
	text, err = run(build()...)
	require.NoError(t, err, text)
	require.FileExists(t, filepath.Join(dir, "out/disk.qcow2"), "the input stays")
	manifest, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	require.NoError(t, err)
	list, err := catalogue.Read(filepath.Join(dir, "catalogue.json"))
	require.NoError(t, err)
	entry, ok := list.Newest("web", "x86_64", "us-east-1")
	require.True(t, ok)
	require.Contains(t, string(manifest), entry.Images["us-east-1"].ImageID, "the next post-processor sees the artifact")

	text, err = run("build", "-var", "endpoint="+endpoint, "data.pkr.hcl")
	require.NoError(t, err, text)
	_, text, _ = strings.Cut(text, "<<")
	text, _, _ = strings.Cut(text, ">>")
	var found []struct {
		ID, Name, Owner, Region string
		Tags                    map[string]string
		Snapshots               []string `json:"snapshot_ids"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &found), text)
	for _, f := range found {
		require.Equal(t, entry.Images["us-east-1"].ImageID, f.ID)
		require.Equal(t, entry.Name, f.Name)
		require.Equal(t, entry.Images["us-east-1"].SnapshotIDs, f.Snapshots)
		require.Equal(t, "us-east-1", f.Region)
	}
	require.Equal(t, "disk", found[0].Tags["Build"])
	require.Equal(t, "000000000000", found[0].Owner)

	text, err = run("build", "-var", "endpoint="+endpoint, "-var", "family=none", "data.pkr.hcl")
	require.Error(t, err)
	require.Contains(t, text, `family "none"`)

	text, err = run(build("-var", "keep=false")...)
	require.NoError(t, err, text)
	require.NoFileExists(t, filepath.Join(dir, "out/disk.qcow2"), "keep_input_artifact = false")
}

func findPacker(t *testing.T) string {
	t.Helper()
	if os.Getenv("RIGHTIMAGE_E2E") == "" {
		t.Skip("set RIGHTIMAGE_E2E=1 to run Packer")
	}
	for _, p := range []string{os.Getenv("PACKER"), "../.cache/bin/packer"} {
		if abs, err := filepath.Abs(p); p != "" && err == nil {
			if _, err := os.Stat(abs); err == nil {
				return abs
			}
		}
	}
	p, err := exec.LookPath("packer")
	if err != nil {
		t.Skip("there is no packer: set PACKER, or run make dev")
	}
	return p
}
