// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package clean

import (
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/verify/tree"
)

// times takes the moment of the build out of the image, when it is to have a
// date: caches that record it go, days on which passwords were changed and times
// of files are not later. It comes last, since every change is one of a time.
func times(c *cleaner) {
	date := c.o.SourceDate
	if date.IsZero() {
		return
	}
	// ldconfig's own cache names inodes and times; the next ldconfig makes it again.
	// The others are what dpkg and debconf had before their last change.
	c.remove("/var/cache/ldconfig/aux-cache", "/var/lib/dpkg/*-old", "/var/cache/debconf/*-old", "/var/lib/ucf/*.[0-9]", "/var/log/alternatives.log")
	today := int(date.Unix() / (24 * 60 * 60))
	c.rewrite("set back the days in", []string{"/etc/shadow"}, func(l string) (string, bool) {
		f := strings.Split(l, ":")
		if len(f) < 3 {
			return l, true
		}
		if day, err := strconv.Atoi(f[2]); err != nil || day <= today {
			return l, true
		}
		f[2] = strconv.Itoa(today)
		return strings.Join(f, ":"), true
	})
	c.date(date)
}

// date sets back what is later than date. The paths are counted and not listed:
// they are most of what a build touches.
func (c *cleaner) date(date time.Time) {
	var mu sync.Mutex
	var late []string
	if info, err := c.Lstat("/"); err == nil && info.ModTime().After(date) {
		late = append(late, "/")
	}
	c.Walk(runtime.GOMAXPROCS(0), func(_ int, e *tree.Entry) bool {
		if e.Modified.After(date) {
			mu.Lock()
			late = append(late, e.Path)
			mu.Unlock()
		}
		return true
	}, func(string, error) {})
	slices.Sort(late)
	for _, p := range late {
		if c.kept(p) || c.Virtual(p) {
			continue
		}
		if !c.o.DryRun {
			if err := c.Date(p, date); err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					c.failed = append(c.failed, err)
				}
				continue
			}
		}
		c.result.Dated++
	}
}
