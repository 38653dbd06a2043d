// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package parttable_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
)

// growDisk makes a file with a partition table by sfdisk, and then a bigger one of it.
func growDisk(t *testing.T, script string, size, bigger int64) *os.File {
	t.Helper()
	if _, err := exec.LookPath("sfdisk"); err != nil {
		t.Skip("sfdisk is not installed")
	}
	path := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, size))
	cmd := exec.Command("sfdisk", "--quiet", path)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Truncate(path, bigger))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func verify(t *testing.T, f *os.File) {
	t.Helper()
	out, err := exec.Command("sfdisk", "--verify", f.Name()).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "No errors detected", string(out))
	require.NotContains(t, string(out), "PMBR", string(out))
}

const growScript = "label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios\nstart=4096, name=root\n"

func TestGrow(t *testing.T) {
	const bigger = 200 * mib
	for name, tc := range map[string]struct {
		script string
		number int
		want   int64
	}{
		"gpt":                {growScript, 2, bigger - mib - 2*mib},
		"gpt, only one":      {"label: gpt\nstart=2048\n", 1, bigger - mib - mib},
		"gpt, numbers mixed": {"label: gpt\n1 : start=30720\n2 : start=2048, size=4096\n", 1, bigger - mib - 15*mib},
		"mbr":                {"label: dos\nstart=2048, type=83, bootable\n", 1, bigger - mib},
		"mbr, second":        {"label: dos\nstart=2048, size=4096, type=82\nstart=6144, type=83\n", 2, bigger - 3*mib},
	} {
		t.Run(name, func(t *testing.T) {
			f := growDisk(t, tc.script, 50*mib, bigger)
			before, err := parttable.Read(f, 50*mib)
			require.NoError(t, err)
			size, changed, err := parttable.Grow(f, bigger, tc.number)
			require.NoError(t, err)
			require.True(t, changed)
			require.Equal(t, tc.want, size)
			verify(t, f)
			after, err := parttable.Read(f, bigger)
			require.NoError(t, err)
			require.False(t, after.Backup)
			for i, p := range before.Partitions {
				if p.Number == tc.number {
					p.Size = tc.want
				}
				require.Equal(t, p, after.Partitions[i], "nothing else changes")
			}
			// The backup copy says the same: damage the primary one.
			if after.Scheme == parttable.GPT {
				_, err = f.WriteAt(make([]byte, 512), 512)
				require.NoError(t, err)
				again, err := parttable.Read(f, bigger)
				require.NoError(t, err)
				require.True(t, again.Backup)
				require.Equal(t, after.Partitions, again.Partitions)
				_, changed, err = parttable.Grow(f, bigger, tc.number)
				require.NoError(t, err)
				require.True(t, changed, "the primary copy is repaired")
				verify(t, f)
			}
			_, changed, err = parttable.Grow(f, bigger, tc.number)
			require.NoError(t, err)
			require.False(t, changed, "a second time changes nothing")
		})
	}
}

func TestGrowRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		number int
	}{
		"another behind it, gpt": {growScript, 1},
		"another behind it, mbr": {"label: dos\nstart=2048, size=4096\nstart=6144\n", 1},
		"logical":                {"label: dos\nstart=2048, size=4096\nstart=6144, type=5\nstart=8192\n", 5},
		"extended":               {"label: dos\nstart=2048, size=4096\nstart=6144, type=5\nstart=8192\n", 2},
		"absent, gpt":            {growScript, 7},
		"absent, mbr":            {"label: dos\nstart=2048\n", 3},
	} {
		t.Run(name, func(t *testing.T) {
			f := growDisk(t, tc.script, 50*mib, 100*mib)
			_, changed, err := parttable.Grow(f, 100*mib, tc.number)
			require.ErrorIs(t, err, parttable.ErrCannotGrow)
			require.False(t, changed)
		})
	}
	blank := growDisk(t, "label: dos\n", 50*mib, 50*mib)
	_, err := blank.WriteAt(make([]byte, 512), 0)
	require.NoError(t, err)
	_, _, err = parttable.Grow(blank, 50*mib, 1)
	require.ErrorIs(t, err, parttable.ErrCannotGrow)
}

// cutDisk stops writing after a number of bytes, as a power cut does.
type cutDisk struct {
	*os.File
	left int
}

var errCut = errors.New("power cut")

func (c *cutDisk) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.File.WriteAt(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, errCut
	}
	return n, nil
}

func (c *cutDisk) Sync() error { return nil }

// TestGrowCut cuts the power at many points; the next try always ends well.
func TestGrowCut(t *testing.T) {
	for _, script := range []string{growScript, "label: dos\nstart=2048\n"} {
		number := 1 + strings.Count(script, "bios")
		for cut := 0; ; cut += 2560 {
			f := growDisk(t, script, 8*mib, 16*mib)
			_, _, err := parttable.Grow(&cutDisk{f, cut}, 16*mib, number)
			if err == nil {
				require.Greater(t, cut, 0)
				break
			}
			require.ErrorIs(t, err, errCut)
			table, err := parttable.Read(f, 16*mib)
			require.NoError(t, err, "cut after %d bytes", cut)
			require.Len(t, table.Partitions, number)
			_, _, err = parttable.Grow(f, 16*mib, number)
			require.NoError(t, err, "cut after %d bytes", cut)
			_, changed, err := parttable.Grow(f, 16*mib, number)
			require.NoError(t, err)
			require.False(t, changed)
			verify(t, f)
		}
	}
}
