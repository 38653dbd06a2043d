// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/spool"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
)

// TestRequests counts what all stages of a boot ask for, each as the process of
// its own that it is.
func TestRequests(t *testing.T) {
	imds := newMetadata(t, query)
	imds.set("/latest/dynamic/instance-identity/document", `{"pendingTime":"1"}`)
	root := newRoot(t)
	stages := func(id string, first bool) []string {
		t.Helper()
		boot(t, root, id)
		imds.reset(nil)
		names := []string{"early", "key", "rightboot", "rightscale", "rightlink"}
		if first {
			names = []string{"early", "key", "rightimage", "rightboot", "rightscale", "rightlink"}
		}
		for _, n := range names {
			out, _ := do(t, root, n)
			require.NotEqual(t, status.Failed, out.Result, n)
		}
		return imds.requests
	}
	const leaves, folders = 4, 3
	require.LessOrEqual(t, len(stages("boot-a", true)), leaves+folders+10)
	later := []string{"PUT /latest/api/token", "GET /latest/meta-data/instance-id", "GET /latest/user-data", "GET /latest/dynamic/instance-identity/document"}
	require.Equal(t, later, stages("boot-b", false))

	// A stop and start: the document and the address are new.
	imds.set("/latest/dynamic/instance-identity/document", `{"pendingTime":"2"}`)
	imds.set("/latest/meta-data/local-ipv4", "10.0.0.8")
	require.Greater(t, len(stages("boot-c", false)), 4)
	require.Equal(t, "10.0.0.8", read(t, root, "var/spool/cloud/meta-data/local-ipv4"))
	require.Contains(t, read(t, root, "etc/hosts"), "10.0.0.8 ip-10-0-0-7")
	require.Equal(t, later, stages("boot-d", false))

	// Other user-data, a damaged spool and a damaged marker each make it anew.
	imds.set("/latest/user-data", query+"&role=db")
	stages("boot-e", false)
	require.Equal(t, "db", read(t, root, "var/spool/cloud/user-data/role"))
	require.NoError(t, os.WriteFile(filepath.Join(spool.Dir(root), "meta-data/local-ipv4"), []byte("torn"), 0o600))
	stages("boot-f", false)
	require.Equal(t, "10.0.0.8", read(t, root, "var/spool/cloud/meta-data/local-ipv4"))
	put(t, root, "var/lib/rightscale/spool.json", "{", 0o600)
	require.Greater(t, len(stages("boot-g", false)), 4)
	require.Equal(t, later, stages("boot-h", false))

	// A clone begins anew.
	imds.set("/latest/meta-data/instance-id", "i-0ccc")
	require.Greater(t, len(stages("boot-i", false)), 4)
	require.Equal(t, "i-0ccc", read(t, root, "var/spool/cloud/meta-data/instance-id"))
}
