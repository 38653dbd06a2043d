// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/verify"
	"github.com/rightimage/packer-plugin-rightimage/verify/corpus"
)

// An AMI and its snapshot are read from afar, block by block. How the files of
// one are looked at is tested with a real image in test/e2e.
func TestVerifyImagesInACloud(t *testing.T) {
	d := newDesk(t)
	disk := d.disk("disk.raw", 3)
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(corpus.Key()), 40*mib)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	out, stderr, code := d.do("publish", disk, "--region", "eu-west-1", "--ami-name", "web", "--json")
	require.Zero(t, code, stderr)
	var made publish.Result
	require.NoError(t, json.Unmarshal([]byte(out), &made))
	image := made.Images["eu-west-1"]

	for _, target := range []string{image.ImageID, image.SnapshotIDs[0]} {
		out, stderr, code = d.do("verify", target, "--region", "eu-west-1", "--no-mount", "--json")
		require.Equal(t, exitFindings, code, stderr)
		require.NotContains(t, out, corpus.KeySecret())
		report, err := verify.ReadJSON([]byte(out))
		require.NoError(t, err)
		require.Equal(t, target, report.Target)
		require.NotEmpty(t, report.Open(verify.Blocker))
		require.Equal(t, "fs-deleted-data", report.Open(verify.Blocker)[0].Check)
		require.EqualValues(t, 7*mib/2, report.Bytes, "only the blocks that there are")
		_, _, code = d.do("verify", target, "--region", "eu-west-1", "--no-mount", "--no-raw")
		require.Zero(t, code)
	}

	_, stderr, code = d.do("verify", image.ImageID, "--region", "us-east-1", "--no-mount")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "look up "+image.ImageID)
	_, err = d.Faults().Add(fault.Rule{Action: "GetSnapshotBlock", Kind: fault.Deny})
	require.NoError(t, err)
	_, stderr, code = d.do("verify", image.ImageID, "--region", "eu-west-1", "--no-mount")
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "read "+image.SnapshotIDs[0])
	_, _, code = d.do("verify", "ami-nothing")
	require.Equal(t, exitFailed, code, "a file that is not there")
}
