// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package store keeps the state of the local cloud in one directory: a JSON
// file per snapshot, image, instance and key pair, and the data of snapshots as
// sparse raw files. Every change is on disk before it is visible, so that a
// restart finds what the last reply promised.
//
//	DIR/lock                                   held by the running server
//	DIR/token.key                              signs page and block tokens
//	DIR/regions/REGION/snapshots/snap-….json   metadata
//	DIR/regions/REGION/snapshots/snap-….raw    the disk, sparse
//	DIR/regions/REGION/snapshots/snap-….sums   SHA-256 of each written block
//	DIR/regions/REGION/{images,instances,keypairs,…}/….json
//	DIR/regions/aws-global/…                   what belongs to no region
//	DIR/objects/…                              the data of objects
//	DIR/instances/i-…/                         console log
//	DIR/volumes/vol-…/                         base.raw, disk.qcow2
package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// ErrLocked is returned by Open when another process uses the directory.
var ErrLocked = errors.New("state directory is in use by another local cloud")

// Store is the state of one local cloud. It is safe for concurrent use.
type Store struct {
	dir  string
	lock *os.File
	key  []byte
	now  func() time.Time

	mu      sync.RWMutex
	regions map[string]*Region

	volMu   sync.Mutex
	volumes map[string]*volume
}

// Open reads the directory, creating it when absent, and locks it.
func Open(dir string, now func() time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrLocked, dir), lock.Close())
	}
	s := &Store{dir: dir, lock: lock, now: now, regions: map[string]*Region{}, volumes: map[string]*volume{}}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *Store) load() error {
	if err := s.loadKey(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "regions"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open state: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := s.region(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// loadKey keeps the token key across restarts, so that block tokens stay good.
func (s *Store) loadKey() error {
	path := filepath.Join(s.dir, "token.key")
	key, err := os.ReadFile(path)
	if err == nil && len(key) == 32 {
		s.key = key
		return nil
	}
	s.key = make([]byte, 32)
	_, _ = rand.Read(s.key)
	return atomicfile.Write(path, s.key, 0o600)
}

// Close releases the directory.
func (s *Store) Close() error {
	s.volMu.Lock()
	defer s.volMu.Unlock()
	var errs []error
	for key, v := range s.volumes {
		errs = append(errs, v.close())
		delete(s.volumes, key)
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Dir is the state directory.
func (s *Store) Dir() string { return s.dir }

// InstanceDir is where the machine of an instance keeps its files.
func (s *Store) InstanceDir(id string) string { return filepath.Join(s.dir, "instances", id) }

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.now() }

// View runs f with the records of a region; f must not change them.
func (s *Store) View(region string, f func(*Region) error) error {
	s.mu.RLock()
	r, ok := s.regions[region]
	if ok {
		defer s.mu.RUnlock()
		return f(r)
	}
	s.mu.RUnlock()
	return s.Update(region, f)
}

// Update runs f alone. What f has Put stays, also when f returns an error, so
// f checks everything before its first Put.
func (s *Store) Update(region string, f func(*Region) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.region(region)
	if err != nil {
		return err
	}
	return f(r)
}

// Peer returns another region for the caller of Update, who works on two at
// once: a copy from region to region, or a launch with a role of Global.
func (s *Store) Peer(region string) (*Region, error) { return s.region(region) }

// Regions names the regions that hold state.
func (s *Store) Regions() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.regions))
	for name := range s.regions {
		names = append(names, name)
	}
	return names
}

// region returns the region, loading it at its first use. The caller holds mu.
func (s *Store) region(name string) (*Region, error) {
	if r, ok := s.regions[name]; ok {
		return r, nil
	}
	r, err := loadRegion(filepath.Join(s.dir, "regions", name), name)
	if err != nil {
		return nil, err
	}
	if err := s.finish(r); err != nil {
		return nil, err
	}
	s.regions[name] = r
	return r, nil
}
