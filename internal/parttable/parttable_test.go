// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package parttable_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/parttable"
)

const mib = 1 << 20

// disk makes an image of 64 MiB partitioned by an sfdisk script.
func disk(t testing.TB, script string) []byte {
	t.Helper()
	if _, err := exec.LookPath("sfdisk"); err != nil {
		t.Skip("sfdisk is not installed (package fdisk)")
	}
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, make([]byte, 64*mib), 0o600))
	if script != "" {
		cmd := exec.Command("sfdisk", "--quiet", path)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func read(data []byte) (parttable.Table, error) {
	return parttable.Read(bytes.NewReader(data), int64(len(data)))
}

const gptScript = `label: gpt
start=2048, size=4096, type=21686148-6449-6E6F-744E-656564454649, name="boot loader"
start=8192, size=65536, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="röot", uuid=11111111-2222-3333-4444-555555555555
`

const mbrScript = `label: dos
label-id: 0xa1b2c3d4
start=2048, size=20480, type=83, bootable
start=22528, size=61440, type=5
start=24576, size=8192, type=83
start=34816, size=8192, type=82
`

func TestReadGPT(t *testing.T) {
	data := disk(t, gptScript)
	want := parttable.Partition{
		Number: 2, Start: 8192 * 512, Size: 65536 * 512, Name: "röot",
		Type: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", UUID: "11111111-2222-3333-4444-555555555555",
	}
	got, err := read(data)
	require.NoError(t, err)
	require.Equal(t, parttable.GPT, got.Scheme)
	require.False(t, got.Backup)
	require.Len(t, got.Partitions, 2)
	require.Equal(t, want, got.Partitions[1])

	t.Run("backup", func(t *testing.T) {
		broken := bytes.Clone(data)
		broken[512+20] ^= 0xff
		got, err := read(broken)
		require.NoError(t, err)
		require.True(t, got.Backup)
		require.Equal(t, want, got.Partitions[1])
	})
	t.Run("entries damaged, backup good", func(t *testing.T) {
		broken := bytes.Clone(data)
		broken[2*512+3] ^= 0xff
		got, err := read(broken)
		require.NoError(t, err)
		require.True(t, got.Backup)
	})
	t.Run("both copies damaged", func(t *testing.T) {
		broken := bytes.Clone(data)
		broken[512+20] ^= 0xff
		broken[len(broken)-512+20] ^= 0xff
		_, err := read(broken)
		require.ErrorIs(t, err, parttable.ErrDamaged)
	})
	t.Run("truncated", func(t *testing.T) {
		_, err := read(data[:16*mib])
		require.ErrorIs(t, err, parttable.ErrBeyondEnd)
		require.ErrorContains(t, err, "partition 2")
	})
	t.Run("plain MBR written over it", func(t *testing.T) {
		mbr := disk(t, mbrScript)
		over := bytes.Clone(data)
		copy(over[:512], mbr[:512])
		got, err := read(over)
		require.NoError(t, err)
		require.Equal(t, parttable.MBR, got.Scheme)
	})
}

func TestReadGPTWithLargeSectors(t *testing.T) {
	if _, err := exec.LookPath("sfdisk"); err != nil {
		t.Skip("sfdisk is not installed (package fdisk)")
	}
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, make([]byte, 64*mib), 0o600))
	cmd := exec.Command("sfdisk", "--quiet", "--sector-size", "4096", path)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=256, size=4096, name=root\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("sfdisk cannot write 4096-byte sectors here: %s", out)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := read(data)
	require.NoError(t, err)
	require.EqualValues(t, 4096, got.SectorSize)
	require.EqualValues(t, mib, got.Partitions[0].Start)
	require.EqualValues(t, 16*mib, got.Partitions[0].Size)
}

func TestReadMBR(t *testing.T) {
	got, err := read(disk(t, mbrScript))
	require.NoError(t, err)
	require.Equal(t, parttable.MBR, got.Scheme)
	require.Equal(t, []parttable.Partition{
		{Number: 1, Start: mib, Size: 10 * mib, Type: "83", UUID: "a1b2c3d4-01"},
		{Number: 2, Start: 11 * mib, Size: 30 * mib, Type: "05", UUID: "a1b2c3d4-02"},
		{Number: 5, Start: 12 * mib, Size: 4 * mib, Type: "83", UUID: "a1b2c3d4-05"},
		{Number: 6, Start: 17 * mib, Size: 4 * mib, Type: "82", UUID: "a1b2c3d4-06"},
	}, got.Partitions)
	p, ok := got.Partition(6)
	require.True(t, ok)
	require.Equal(t, "82", p.Type)
}

func TestEndlessChainOfLogicalPartitions(t *testing.T) {
	data := disk(t, mbrScript)
	// The second extended boot record (at 33 MiB / 512 = sector 32768) links back
	// to the first one.
	second := data[16*mib:][:512]
	copy(second[462:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0})
	_, err := read(data)
	require.ErrorIs(t, err, parttable.ErrDamaged)
}

func TestReadNone(t *testing.T) {
	fat := make([]byte, mib)
	fat[510], fat[511] = 0x55, 0xaa
	copy(fat[82:], "FAT32   ")
	fat[450], fat[454], fat[458] = 0x83, 1, 1
	for name, data := range map[string][]byte{
		"zeroes": make([]byte, mib), "tiny": make([]byte, 100), "FAT boot sector": fat, "empty": nil,
	} {
		got, err := read(data)
		require.NoError(t, err, name)
		require.Equal(t, parttable.None, got.Scheme, name)
		require.Empty(t, got.Partitions, name)
	}
}

func FuzzRead(f *testing.F) {
	for _, script := range []string{gptScript, mbrScript} {
		data := disk(f, script)
		f.Add(data[:64*512], int64(len(data)))
	}
	f.Add(make([]byte, 4096), int64(4096))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		size = min(max(size, 0), 1<<40)
		table, err := parttable.Read(sparse(head), size)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Start < 0 || p.Size <= 0 || p.Start > size-p.Size {
				t.Fatalf("partition %+v is outside of %d bytes", p, size)
			}
		}
	})
}

// sparse is a disk that starts with some bytes and then reads as zeroes.
type sparse []byte

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	clear(p)
	if off < int64(len(s)) {
		copy(p, s[off:])
	}
	return len(p), nil
}
