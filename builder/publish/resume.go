// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

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

// manifestPlace is where the block manifest is kept.
func (p *Publisher) manifestPlace() string {
	return cmp.Or(p.BlockManifest, p.resume.disk+".blocks")
}

// loadManifest reads the manifest of the last image. Without one everything is
// sent, so nothing that goes wrong here is an error.
func (p *Publisher) loadManifest(ctx context.Context) {
	if p.Incremental.False() {
		return
	}
	m, err := p.readManifest(ctx)
	var noKey *s3types.NoSuchKey
	switch {
	case err == nil:
		p.resume.manifest = m
	case !errors.Is(err, fs.ErrNotExist) && !errors.As(err, &noKey) && ctx.Err() == nil:
		p.say("everything is sent, since the block manifest %s cannot be used: %v", p.manifestPlace(), err)
	}
}

func (p *Publisher) readManifest(ctx context.Context) (*upload.Manifest, error) {
	bucket, key, ok := s3Place(p.manifestPlace())
	if !ok {
		return upload.ReadManifest(p.manifestPlace())
	}
	out, err := p.objects.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return nil, err
	}
	m, err := upload.DecodeManifest(out.Body)
	return m, errors.Join(err, out.Body.Close())
}

// saveManifest keeps what was uploaded for the next image.
func (p *Publisher) saveManifest(ctx context.Context, b *build) error {
	var m *upload.Manifest
	for _, r := range p.regions {
		i := b.images[r]
		if i.upload == nil || i.upload.Manifest == nil {
			continue
		}
		if m == nil {
			m = &upload.Manifest{BlockSize: i.upload.Manifest.BlockSize, VolumeGiB: i.upload.Manifest.VolumeGiB, Sums: i.upload.Manifest.Sums, Snapshots: map[string]string{}}
		}
		m.Snapshots[r.name] = i.upload.ID
	}
	if m == nil {
		return nil // not made of a disk
	}
	place := p.manifestPlace()
	bucket, key, ok := s3Place(place)
	if !ok {
		return m.WriteFile(place)
	}
	var data bytes.Buffer
	if err := m.Encode(&data); err != nil {
		return err
	}
	_, err := p.objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(data.Bytes())})
	return p.regions[0].explain("store the block manifest "+place, p.regions[0].name, err)
}

// parent is the snapshot of the last image in a region, when its encryption is
// the one wanted now: a snapshot on a parent inherits it.
func (p *Publisher) parent(ctx context.Context, r *region, key string) (*upload.Parent, error) {
	m := p.resume.manifest
	if m == nil || m.Snapshots[r.name] == "" {
		return nil, nil //nolint:nilnil // no parent is an answer
	}
	id := m.Snapshots[r.name]
	snap, err := r.snapshot(ctx, id)
	if err != nil && !absent(err) {
		return nil, r.explain("describe snapshot "+id, r.name, err)
	}
	why := "it is gone"
	if err == nil {
		if why, err = p.unfit(ctx, r, snap, key); err != nil {
			return nil, err
		}
	}
	if why != "" {
		p.say("%s: the upload is a full one, not based on %s: %s", r.name, id, why)
		return nil, nil //nolint:nilnil // as above
	}
	return &upload.Parent{SnapshotID: id, Manifest: m}, nil
}

// unfit says why the encryption of a parent is not the wanted one; "" when it
// is.
func (p *Publisher) unfit(ctx context.Context, r *region, parent types.Snapshot, key string) (string, error) {
	has, want := aws.ToBool(parent.Encrypted), p.encryption() == encrypted
	if p.encryption() == keep {
		on, err := r.encryptsByDefault(ctx)
		if err != nil {
			return "", err
		}
		want = on
	}
	switch {
	case has != want && has:
		return "it is encrypted", nil
	case has != want:
		return "it is not encrypted", nil
	case !has:
		return "", nil
	}
	if key == "" {
		out, err := r.account.GetEbsDefaultKmsKeyId(ctx, &ec2.GetEbsDefaultKmsKeyIdInput{})
		if err != nil {
			return "", r.explain("look up the default key", r.name, err)
		}
		key = aws.ToString(out.KmsKeyId)
	}
	if aws.ToString(parent.KmsKeyId) != key {
		return fmt.Sprintf("it is encrypted with %s, and %s is wanted", aws.ToString(parent.KmsKeyId), key), nil
	}
	return "", nil
}
