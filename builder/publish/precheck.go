// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
)

// Precheck finds what would stop the publication in any of the regions, and
// reports all of it. It makes nothing. Builders call it before they spend
// anything; Disk and Image call it again, since much can happen in between.
func (p *Publisher) Precheck(ctx context.Context) error {
	errs := []error{p.checkTimeLeft(time.Now())}
	if p.TemplateData != nil {
		c := p.Config // Disk and Image fill in the real one
		errs = append(errs, c.fillIn())
	}
	found := make([]error, len(p.regions))
	var wg sync.WaitGroup
	for i, r := range p.regions {
		wg.Go(func() { found[i] = p.precheckRegion(ctx, r) })
	}
	wg.Wait()
	return errors.Join(append(errs, found...)...)
}

func (p *Publisher) precheckRegion(ctx context.Context, r *region) error {
	// The first call tells whether the region can be reached at all; when not,
	// the others would only say the same.
	if err := p.checkName(ctx, r); err != nil {
		return err
	}
	return errors.Join(
		p.checkPublicAccess(ctx, r),
		p.checkAccountEncryption(ctx, r),
		p.checkParameterThere(ctx, r),
		p.checkDeviceSnapshots(ctx, r),
	)
}

// checkTimeLeft repeats the check of deprecate_at: a build takes time.
func (p *Publisher) checkTimeLeft(now time.Time) error {
	var found problems
	p.checkDeprecation(&found, now)
	return found.join()
}

// checkName finds an image of the same name, deprecated and disabled ones
// included: RegisterImage would refuse the name. With force_deregister it is the
// one to be replaced, when that can be done.
func (p *Publisher) checkName(ctx context.Context, r *region) error {
	images, err := r.imagesNamed(ctx, p.AMIName, awsx.Quick)
	if err != nil {
		return r.explain("look for images of the same name", r.name, err)
	}
	r.old = nil
	if len(images) == 0 {
		return nil
	}
	old := images[0]
	id := aws.ToString(old.ImageId)
	if !p.ForceDeregister {
		return fmt.Errorf("ami_name: %q is taken in %s by %s: choose another name, set force_deregister = true to replace that image, or remove it with: %s",
			p.AMIName, r.name, id, r.command("deregister-image", "--image-id", id))
	}
	if err := r.replaceable(old); err != nil {
		return err
	}
	r.old = &old
	return nil
}

// replaceable reports why an image cannot be replaced.
func (r *region) replaceable(old types.Image) error {
	id := aws.ToString(old.ImageId)
	switch protectionOf(old) {
	case unprotected, protected:
	case protectedForADay:
		return fmt.Errorf("force_deregister: image %s in %s is protected, and stays so for 24 hours after the protection is turned off: turn it off with: %s; and build again when the time has passed",
			id, r.name, r.command("disable-image-deregistration-protection", "--image-id", id))
	case coolingDown:
		return fmt.Errorf("force_deregister: image %s in %s was protected and cannot be removed yet (%s): build again when the 24 hours since then have passed",
			id, r.name, aws.ToString(old.DeregistrationProtection))
	}
	if old.State != types.ImageStateAvailable {
		return fmt.Errorf("force_deregister: image %s in %s is %s and could not be put back if something went wrong: wait until it is available, or remove it with: %s",
			id, r.name, old.State, r.command("deregister-image", "--image-id", id))
	}
	if billed(old) {
		return fmt.Errorf("force_deregister: image %s in %s has product or billing codes (%s), and could not be put back if something went wrong: choose another ami_name, or remove it with: %s",
			id, r.name, aws.ToString(old.UsageOperation), r.command("deregister-image", "--image-id", id))
	}
	return nil
}

// billed reports whether an image carries what RegisterImage cannot give it.
func billed(i types.Image) bool {
	operation := aws.ToString(i.UsageOperation)
	return len(i.ProductCodes) > 0 || operation != "" && operation != "RunInstances"
}

// protection is what stands against deregistering an image.
type protection int

const (
	unprotected protection = iota
	protected
	protectedForADay
	coolingDown
)

// protectionOf reads the words of DescribeImages.
func protectionOf(i types.Image) protection {
	switch text := aws.ToString(i.DeregistrationProtection); {
	case text == "" || text == "disabled":
		return unprotected
	case strings.HasPrefix(text, "enabled-with-cooldown"):
		return protectedForADay
	case strings.HasPrefix(text, "enabled"):
		return protected
	default:
		return coolingDown // "disabled" with the time until which it holds
	}
}

// checkPublicAccess looks for the account's block of public access, which would
// refuse the very last call.
func (p *Publisher) checkPublicAccess(ctx context.Context, r *region) error {
	var errs []error
	if p.public() {
		out, err := r.account.GetImageBlockPublicAccessState(ctx, &ec2.GetImageBlockPublicAccessStateInput{})
		if err != nil {
			errs = append(errs, r.explain("look up the block of public images", r.name, err))
		} else if state := aws.ToString(out.ImageBlockPublicAccessState); state != string(types.ImageBlockPublicAccessDisabledStateUnblocked) {
			errs = append(errs, fmt.Errorf("ami_groups: the account blocks public images in %s (%s): leave \"all\" out, or allow it with: %s",
				r.name, state, r.command("disable-image-block-public-access")))
		}
	}
	if p.publicSnapshots() {
		out, err := r.account.GetSnapshotBlockPublicAccessState(ctx, &ec2.GetSnapshotBlockPublicAccessStateInput{})
		if err != nil {
			errs = append(errs, r.explain("look up the block of public snapshots", r.name, err))
		} else if out.State != types.SnapshotBlockPublicAccessStateUnblocked {
			errs = append(errs, fmt.Errorf("snapshot_groups: the account blocks public snapshots in %s (%s): leave \"all\" out, or allow it with: %s",
				r.name, out.State, r.command("disable-snapshot-block-public-access")))
		}
	}
	return errors.Join(errs...)
}

// checkAccountEncryption asks how the account encrypts by default where that
// decides whether the image can be as the template says.
func (p *Publisher) checkAccountEncryption(ctx context.Context, r *region) error {
	shared := p.sharesImage() || p.sharesSnapshots()
	if want := p.encryption(); want == encrypted || want == keep && !shared {
		return nil
	}
	on, err := r.encryptsByDefault(ctx)
	if err != nil || !on {
		return err
	}
	disable := r.command("disable-ebs-encryption-by-default")
	if p.encryption() == unencrypted {
		return fmt.Errorf("encrypt_boot: is false, but the account encrypts everything in %s: leave it out, or change the account with: %s", r.name, disable)
	}
	if p.public() || p.publicSnapshots() {
		return fmt.Errorf("ami_groups, snapshot_groups: the account encrypts everything in %s, and what is encrypted cannot be public: leave \"all\" out, or change the account with: %s", r.name, disable)
	}
	return fmt.Errorf("ami_users, ami_org_arns, ami_ou_arns, snapshot_users: the account encrypts everything in %s with its default key, which others cannot use as a rule: give a key of your own in kms_key_id or region_kms_key_ids", r.name)
}

func (r *region) encryptsByDefault(ctx context.Context) (bool, error) {
	out, err := r.account.GetEbsEncryptionByDefault(ctx, &ec2.GetEbsEncryptionByDefaultInput{})
	if err != nil {
		return false, r.explain("look up the default of encryption", r.name, err)
	}
	return aws.ToBool(out.EbsEncryptionByDefault), nil
}

// checkDeviceSnapshots looks for the snapshots of further devices in the first
// region; copies take them along.
func (p *Publisher) checkDeviceSnapshots(ctx context.Context, r *region) error {
	if r != p.regions[0] {
		return nil
	}
	var errs []error
	for i, d := range p.AMIMappings {
		if d.SnapshotID == "" {
			continue
		}
		option := fmt.Sprintf("ami_block_device_mappings[%d]", i)
		snap, err := r.snapshot(ctx, d.SnapshotID)
		switch {
		case err != nil && absent(err):
			errs = append(errs, fmt.Errorf("%s.snapshot_id: there is no snapshot %s in %s: correct the id", option, d.SnapshotID, r.name))
		case err != nil:
			errs = append(errs, r.explain("describe snapshot "+d.SnapshotID, r.name, err))
		case d.VolumeSize > 0 && d.VolumeSize < int64(aws.ToInt32(snap.VolumeSize)):
			errs = append(errs, fmt.Errorf("%s.volume_size: is %d, but snapshot %s has %d GiB: raise it or leave it out", option, d.VolumeSize, d.SnapshotID, aws.ToInt32(snap.VolumeSize)))
		}
	}
	return errors.Join(errs...)
}

func (p *Publisher) checkDisk(disk *sparse.Disk) error {
	data, err := disk.DataBytes()
	switch {
	case err != nil:
		return err
	case data == 0:
		return fmt.Errorf("the disk of %s holds no data at all: nothing to publish", size(disk.Size()))
	case p.VolumeSize > 0 && p.VolumeSize < disk.SizeGiB():
		return fmt.Errorf("volume_size: must be at least the %d GiB of the disk, is %d: raise it or leave it out", disk.SizeGiB(), p.VolumeSize)
	}
	var found problems
	c := p.Config
	c.VolumeSize = max(c.VolumeSize, disk.SizeGiB())
	c.checkVolumes(&found) // again, now that the size is known
	return found.join()
}
