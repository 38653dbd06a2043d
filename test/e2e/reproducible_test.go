// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// TestDemoImageTwice builds the demo image twice, at two times and on machines of
// two names, and compares the blocks that would be uploaded. The disk that was
// written anew boots.
func TestDemoImageTwice(t *testing.T) {
	needFull(t)
	if os.Geteuid() != 0 {
		t.Skip("names the machine in a namespace, which needs root")
	}
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 30*time.Minute)
	defer cancel()
	var disks [2]string
	var entry catalogue.Entry
	for n, host := range []string{"monday", "tuesday"} {
		out := filepath.Join(s.Work, "reproducible-"+host)
		packer, err := s.Packer()
		require.NoError(t, err)
		env, err := s.PackerEnv(ctx)
		require.NoError(t, err)
		env = append(append(env, s.Cloud.Env()...), "SOURCE_DATE_EPOCH=1700000000")
		regions := "[]"
		if n == 1 {
			regions = `["` + chain.Region + `"]`
		}
		script := `hostname "$1"; shift; exec "$@"`
		_, err = s.Command(ctx, env, "unshare", "--uts", "sh", "-c", script, "sh", host, packer, "build", "-color=false", "-var", "output_directory="+out,
			"-var", "base_disk="+s.Base, "-var", "regions="+regions, filepath.Join(s.Repo, "example", "rightimage.pkr.hcl"))
		require.NoError(t, err)
		list, err := catalogue.Read(filepath.Join(out, catalogue.FileName))
		require.NoError(t, err)
		entry = list.Entries[0]
		disks[n] = filepath.Join(out, entry.Disk.File)
	}
	a, err := attest.FileBlocks(ctx, disks[0], nil)
	require.NoError(t, err)
	b, err := attest.FileBlocks(ctx, disks[1], nil)
	require.NoError(t, err)
	differing := attest.Differences(a, b)
	if len(differing) > 0 {
		explainDisks(ctx, t, disks[0], disks[1], differing)
	}
	require.Empty(t, differing, "of %d blocks", a.Len())

	id, err := s.Cloud.Launch(ctx, "reproducible", entry.Images[chain.Region].ImageID, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, "reproducible") })
	waitLogin(ctx, t, s, id)
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

// explainDisks says what is in the blocks that differ: the files that do, and
// what owns the blocks.
func explainDisks(ctx context.Context, t *testing.T, a, b string, differing []attest.Difference) {
	t.Helper()
	err := disk.Inspect(ctx, a, func(from string) error {
		return disk.Inspect(ctx, b, func(to string) error {
			r, err := imagediff.Compare(ctx, from, to, sbom.Options{SkipPrograms: true})
			if err == nil {
				var text strings.Builder
				err = r.Write(&text, "json")
				t.Log(text.String())
			}
			return err
		})
	})
	if err != nil {
		t.Log("compare the files:", err)
	}
	for _, d := range differing[:min(len(differing), 20)] {
		out, err := exec.CommandContext(ctx, "sh", "-c", `cmp -l -i "$3" -n 524288 "$1" "$2" | head -n 3`, "sh", a, b, strconv.FormatInt(d.Offset, 10)).CombinedOutput()
		t.Logf("block %d (from byte %d): %s %v", d.Block, d.Offset, out, err)
	}
}
