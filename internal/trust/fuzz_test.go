// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package trust

import (
	"strings"
	"testing"
)

// FuzzParse: whatever a mirror sends, parsing ends, and without a signature it
// counts for nothing.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"signed":{"_type":"root","spec_version":"1.0.31","version":1,"expires":"2030-01-01T00:00:00Z","keys":{"a":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"` + strings.Repeat("00", 32) + `"}}},"roles":{"root":{"keyids":["a"],"threshold":1}}},"signatures":[{"keyid":"a","sig":"00"}]}`))
	f.Add([]byte(`{"signed":{"_type":"timestamp","spec_version":"1.0","version":1,"expires":"2030-01-01T00:00:00Z","meta":{"snapshot.json":{"version":1}}},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for role, into := range map[string]any{roleRoot: &rootDoc{}, roleTimestamp: &indexDoc{}, roleSnapshot: &indexDoc{}, roleTargets: &targetsDoc{}} {
			d, err := parse(raw, role, into)
			if root, ok := into.(*rootDoc); ok && err == nil && root.vouches(roleRoot, d) == nil {
				t.Fatalf("unsigned metadata was trusted: %s", raw)
			}
		}
	})
}
