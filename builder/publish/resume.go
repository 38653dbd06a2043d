// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/upload"
)

// resume is what uploads of one disk share, and what they need not do again.
type resume struct {
	// disk is the path that journals and manifest are named after.
	disk     string
	sums     *upload.Sums
	manifest *upload.Manifest // of the last image; nil when there is none
}

// openResume names the files that belong to a disk.
func (p *Publisher) openResume(disk string) {
	p.resume = resume{disk: disk, sums: &upload.Sums{}}
	if p.DiskName != "" {
		p.resume.disk = p.DiskName
	}
}

// journal is the path of the journal of a region. It is not named after the
// image, whose name may be another in each run.
func (p *Publisher) journal(r *region) string {
	dir := p.JournalDirectory
	if dir == "" {
		dir = filepath.Dir(p.resume.disk)
	}
	return filepath.Join(dir, filepath.Base(p.resume.disk)+"."+r.name+".journal")
}

// forgetUploads ends the possibility to resume: the snapshots became products,
// or are about to be deleted.
func (p *Publisher) forgetUploads(b *build) {
	for _, r := range p.regions {
		if i := b.images[r]; i != nil && i.upload != nil {
			if err := i.upload.Forget(); err != nil {
				p.say("%s: the journal of the upload stays: %v", r.name, err)
			}
		}
	}
}

func (p *Publisher) parent(context.Context, *region, string) (*upload.Parent, error) { return nil, nil }

func (p *Publisher) loadManifest(context.Context) {}

func (p *Publisher) saveManifest(context.Context, *build) error { return nil }
