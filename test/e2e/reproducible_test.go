// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
	"github.com/rightimage/packer-plugin-rightimage/proof/attest"
	"github.com/rightimage/packer-plugin-rightimage/proof/imagediff"
	"github.com/rightimage/packer-plugin-rightimage/proof/sbom"
	"github.com/rightimage/packer-plugin-rightimage/test/chain"
)

// epoch is the SOURCE_DATE_EPOCH of both builds.
const epoch = "SOURCE_DATE_EPOCH=1700000000"

// TestDemoImageTwice builds the demo image here and on another machine, whose name
// and day are not this one's, and compares the blocks that would be uploaded. The
// disk that was written anew boots.
func TestDemoImageTwice(t *testing.T) {
	needFull(t)
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 40*time.Minute)
	defer cancel()
	out := filepath.Join(s.Work, "reproducible")
	built, err := s.Build(ctx, s.DemoTemplate(), out, append(s.Cloud.Env(), epoch), map[string]string{
		"base_disk": s.Base, "regions": `["` + chain.Region + `"]`,
	})
	require.NoError(t, err)
	elsewhere := filepath.Join(s.Work, "reproducible-elsewhere")
	buildElsewhere(ctx, t, s, elsewhere)

	disks := [2]string{diskIn(t, out), diskIn(t, elsewhere)}
	a, err := attest.FileBlocks(ctx, disks[0], nil)
	require.NoError(t, err)
	b, err := attest.FileBlocks(ctx, disks[1], nil)
	require.NoError(t, err)
	differing := attest.Differences(a, b)
	if len(differing) > 0 {
		explainDisks(ctx, t, disks[0], disks[1], differing)
	}
	require.Empty(t, differing, "of %d blocks", a.Len())

	id, err := s.Cloud.Launch(ctx, "reproducible", built.Images[chain.Region].ImageID, "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(id, "reproducible") })
	waitLogin(ctx, t, s, id)
	require.NoError(t, s.Cloud.Terminate(ctx, id))
}

// diskIn is the disk that a build has left.
func diskIn(t *testing.T, output string) string {
	t.Helper()
	list, err := catalogue.Read(filepath.Join(output, catalogue.FileName))
	require.NoError(t, err)
	require.Len(t, list.Entries, 1)
	return filepath.Join(output, list.Entries[0].Disk.File)
}

// buildElsewhere builds the demo image on a machine of the local cloud whose clock
// is two days ahead, and brings the output here.
func buildElsewhere(ctx context.Context, t *testing.T, s *chain.Story, output string) {
	t.Helper()
	instance, key := launchWithKey(ctx, t, s, s.Image, []types.BlockDeviceMapping{{
		DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(10), DeleteOnTermination: aws.Bool(true)},
	}})
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(*instance.InstanceId, "elsewhere") })
	on := func(command string, in io.Reader, out io.Writer) {
		t.Helper()
		streamSSH(ctx, t, net.JoinHostPort(*instance.PublicIpAddress, strconv.Itoa(sshPort(ctx))), key, command, in, out)
	}

	packer, err := s.Packer()
	require.NoError(t, err)
	// Sparse, and compressed for the machine's sake, which decrypts slowly.
	pack := exec.CommandContext(ctx, "tar", "--sparse", "--use-compress-program=gzip -1", "--transform=s,.*/,,", "-chPf", "-",
		packer, s.Bin("packer-plugin-rightimage"), s.Base, s.DemoTemplate())
	files, err := pack.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, pack.Start())
	on("mkdir /build && tar -C /build -xzf -", files, io.Discard)
	require.NoError(t, pack.Wait())

	var log strings.Builder
	on(`set -eu
cd /build
hostname tuesday
date --set '2 days' >&2
export HOME=/root CHECKPOINT_DISABLE=1 PACKER_NO_COLOR=1 `+epoch+`
./packer plugins install --path /build/packer-plugin-rightimage github.com/rightimage/rightimage
./packer build -color=false -var output_directory=output -var base_disk="$(echo base-*.raw)" `+filepath.Base(s.DemoTemplate()), nil, &log)
	t.Log(log.String())

	require.NoError(t, os.Mkdir(output, 0o755))
	unpack := exec.CommandContext(ctx, "tar", "-C", output, "-xzf", "-")
	disk, err := unpack.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, unpack.Start())
	on("tar -C /build/output --sparse --use-compress-program='gzip -1' -cf - .", nil, disk)
	require.NoError(t, disk.Close())
	require.NoError(t, unpack.Wait())
	require.NoError(t, s.Cloud.Terminate(ctx, *instance.InstanceId))
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
