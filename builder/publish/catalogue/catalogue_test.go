// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package catalogue

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func entry(id, family, arch string, day int, regions ...string) Entry {
	e := Entry{Name: id, Family: family, Architecture: arch, PublishID: id, BuiltBy: "a test", Built: time.Date(2030, 1, day, 0, 0, 0, 0, time.UTC), Images: map[string]Image{}}
	for _, r := range regions {
		e.Images[r] = Image{ImageID: "ami-" + id + "-" + r}
	}
	return e
}

func TestNewest(t *testing.T) {
	var f File
	f.Put(entry("c", "web", "x86_64", 3, "eu-west-1"))
	f.Put(entry("a", "web", "x86_64", 1, "eu-west-1", "us-east-1"))
	f.Put(entry("b", "web", "arm64", 2, "us-east-1"))
	f.Put(entry("d", "db", "x86_64", 4, "us-east-1"))
	f.Put(entry("disk", "web", "x86_64", 5))
	for _, tc := range []struct{ family, arch, region, want string }{
		{"web", "", "", "c"}, {"web", "", "us-east-1", "b"}, {"web", "x86_64", "us-east-1", "a"}, {"db", "", "", "d"}, {"db", "arm64", "", ""}, {"none", "", "", ""},
	} {
		e, ok := f.Newest(tc.family, tc.arch, tc.region)
		require.Equal(t, tc.want, e.Name)
		require.Equal(t, tc.want != "", ok)
	}
	f.Put(entry("c", "web", "x86_64", 6, "eu-west-1"))
	require.Len(t, f.Entries, 5, "one of the same publish id gives way")
	f.Forget("ami-a-us-east-1")
	f.Forget("ami-d-us-east-1")
	_, ok := f.Newest("db", "", "")
	require.False(t, ok)
	require.Equal(t, []string{"eu-west-1"}, f.Entries[0].Regions())
}

// Builds at the same time lose nothing; the last entry takes the file with it.
func TestUpdate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalogue.json")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := Update(path, func(f *File) error { f.Put(entry(fmt.Sprint(i), "web", "x86_64", i+1, "eu-west-1")); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := Read(path)
	require.NoError(t, err)
	require.Len(t, f.Entries, 20)
	require.Error(t, Update(path, func(*File) error { return os.ErrInvalid }))
	require.NoError(t, Update(path, func(f *File) error {
		for i := range 20 {
			f.Drop(fmt.Sprint(i))
		}
		return nil
	}))
	require.NoFileExists(t, path)
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	f, err := Read(path)
	require.NoError(t, err)
	require.Empty(t, f.Entries)
	require.NoError(t, Write(path, entry("a", "web", "x86_64", 1, "eu-west-1")))
	f, err = Read(path)
	require.NoError(t, err)
	require.Equal(t, []Entry{entry("a", "web", "x86_64", 1, "eu-west-1")}, f.Entries)
	for _, bad := range []string{"{", `{"version": 2}`, `{"name": "x"}`, `[]`} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err = Read(path)
		require.ErrorContains(t, err, path)
		require.Error(t, Update(path, func(*File) error { return nil }), "what is no catalogue is not overwritten")
	}
}
