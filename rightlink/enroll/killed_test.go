// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package enroll

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
)

// TestKilledWhileEnrolling kills the real program at random moments of its
// first enrolment. Run again, it enrols with the key that is on the disk; no
// kill uses up the token for nothing.
func TestKilledWhileEnrolling(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the agent")
	}
	binary := filepath.Join(t.TempDir(), "rightlink")
	out, err := exec.Command("go", "build", "-o", binary, "../../cmd/rightlink").CombinedOutput()
	require.NoError(t, err, string(out))
	s := newSite(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.platform.Certificate().Raw})
	instances := map[string]string{"a": "i-00000000000000aa", "b": "i-00000000000000bb", "c": "i-00000000000000cc", "d": "i-00000000000000dd"}
	for name, uid := range instances {
		s.server(name, "")
		h := s.host(uid, name)
		require.NoError(t, atomicfile.WriteMkdir(h.root.CA(), ca, 0o644, 0o755))
		for range 6 {
			after := time.Duration(rand.Int64N(int64(120 * time.Millisecond)))
			ctx, cancel := context.WithTimeout(t.Context(), after)
			_ = exec.CommandContext(ctx, binary, "--root", string(h.root), "enroll").Run() // killed with SIGKILL
			cancel()
		}
		text, err := exec.CommandContext(t.Context(), binary, "--root", string(h.root), "enroll", "--timeout", "1m").CombinedOutput()
		require.NoError(t, err, string(text))
		v, err := s.fleet.ServerByName(t.Context(), fleet.DefaultAccount, name)
		require.NoError(t, err)
		k := h.keys()
		require.True(t, k.Enrolled)
		require.Equal(t, uid, v.Attestation.InstanceID)
		require.Equal(t, fleet.Fingerprint(ed25519.NewKeyFromSeed(k.Current).Public().(ed25519.PublicKey)), v.Attestation.Key)
	}
}
