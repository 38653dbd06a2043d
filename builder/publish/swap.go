// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// takeNames gives staged images their final name, region by region: EC2 has no
// two images of one name, and no way to rename one. All new images are there
// already; from a region's DeregisterImage to its RegisterImage nothing has the
// name.
func (p *Publisher) takeNames(ctx context.Context, b *build) error {
	for _, r := range p.regions {
		if i := b.images[r]; i.staged != "" {
			if err := p.takeName(ctx, b, r, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Publisher) takeName(ctx context.Context, b *build, r *region, i *image) error {
	uefi, err := r.uefiData(ctx, i.described)
	if err != nil {
		return err
	}
	if err := p.removeOld(ctx, b, r); err != nil {
		return err
	}
	staging := *i
	if billed(i.described) {
		// Only a copy keeps its codes. It gets snapshots of its own.
		request := p.copyRequest(r, r.name, staging.id, p.AMIName, p.imageTags())
		if err := p.copyImage(ctx, b, r, i, request); err != nil {
			return err
		}
		r.oweParts(&b.trash, &staging)
		i.staged = ""
		return nil
	}
	in := again(i.described, uefi)
	in.Name, in.Description = aws.String(p.AMIName), text(p.AMIDescription)
	in.TagSpecifications = tagged(types.ResourceTypeImage, p.imageTags())
	if i.id, err = p.register(ctx, r, in, &b.owed); err != nil {
		return err
	}
	i.staged = ""
	r.oweImage(&b.trash, staging.id)
	return p.waitFor(ctx, r, i)
}

// oldImage is an image that gives way, with all that is needed to make it anew.
type oldImage struct {
	types.Image
	uefi   string
	launch []types.LaunchPermission
}

// removeOld deregisters what has the name now. Its snapshots stay until the end,
// so that it can be put back.
func (p *Publisher) removeOld(ctx context.Context, b *build, r *region) error {
	images, err := r.imagesNamed(ctx, p.AMIName)
	if err != nil {
		return r.explain("look for images of the same name", r.name, err)
	}
	for _, found := range images {
		id := aws.ToString(found.ImageId)
		if err := r.replaceable(found); err != nil {
			return err
		}
		old, err := r.remember(ctx, found)
		if err != nil {
			return err
		}
		p.say("%s: image %s gives the name %q to %s", r.name, id, p.AMIName, b.images[r].id)
		p.oweOld(b, r, old)
		if protectionOf(found) == protected {
			if _, err := r.attributes.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: found.ImageId}); err != nil {
				return r.explain("end the protection of image "+id, r.name, err)
			}
		}
		r.replaced = append(r.replaced, found)
		if _, err := r.images.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: found.ImageId}); err != nil && awsx.Class(err) != awsx.NotYet {
			return r.explain("deregister image "+id, r.name, coolDown(err))
		}
	}
	return nil
}

// coolDown explains the one refusal that DescribeImages does not announce.
func coolDown(err error) error {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "OperationNotPermitted" {
		return fmt.Errorf("force_deregister: the image is protected, or was until less than 24 hours ago: build again later, or under another ami_name: %w", err)
	}
	return err
}

// remember reads what DescribeImages does not tell.
func (r *region) remember(ctx context.Context, i types.Image) (oldImage, error) {
	old := oldImage{Image: i}
	out, err := r.attributes.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return old, r.explain("read who may launch image "+aws.ToString(i.ImageId), r.name, err)
	}
	old.launch = out.LaunchPermissions
	old.uefi, err = r.uefiData(ctx, i)
	return old, err
}

// uefiData reads the UEFI variables of an image that may have some.
func (r *region) uefiData(ctx context.Context, i types.Image) (string, error) {
	if i.BootMode == "" || i.BootMode == types.BootModeValuesLegacyBios {
		return "", nil
	}
	out, err := r.attributes.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameUefiData})
	if err != nil {
		return "", r.explain("read the UEFI variables of image "+aws.ToString(i.ImageId), r.name, err)
	}
	if out.UefiData == nil {
		return "", nil
	}
	return aws.ToString(out.UefiData.Value), nil
}

// oweOld records that an image is about to give way: when the run fails, it is
// registered again from its snapshots, with what it had.
func (p *Publisher) oweOld(b *build, r *region, old oldImage) {
	id := aws.ToString(old.ImageId)
	b.owed.Owe(fmt.Sprintf("the image %s, named %q in %s, which was to be replaced, and is to be registered again", id, aws.ToString(old.Name), r.name),
		r.registerCommand(again(old.Image, old.uefi)),
		func(ctx context.Context) error {
			if r.returned[id] == "" {
				found, err := p.putBack(ctx, r, old)
				if err != nil {
					return err
				}
				r.returned[id] = found
			}
			return p.dressUp(ctx, r, old, r.returned[id])
		})
}

// putBack makes sure that the old image is there, and returns its id.
func (p *Publisher) putBack(ctx context.Context, r *region, old oldImage) (string, error) {
	images, err := r.imagesNamed(ctx, aws.ToString(old.Name), awsx.Once)
	if err != nil {
		return "", verdict(err)
	}
	for _, i := range images {
		switch id := aws.ToString(i.ImageId); {
		case id == aws.ToString(old.ImageId), sameSnapshots(i, old.Image) && tagOf(i.Tags, tagPublishID) != p.publishID:
			return id, nil // it was never gone, or an earlier try put it back
		default:
			return "", fmt.Errorf("image %s still has the name", id)
		}
	}
	out, err := r.images.RegisterImage(ctx, again(old.Image, old.uefi), awsx.Once)
	if err != nil {
		if awsx.Class(err) == awsx.Conflict {
			return "", err // the name is not free yet everywhere
		}
		return "", verdict(err)
	}
	id := aws.ToString(out.ImageId)
	p.say("%s: the image %s that was to be replaced is registered again, as %s", r.name, aws.ToString(old.ImageId), id)
	return id, nil
}

// dressUp gives the old image back what it had.
func (p *Publisher) dressUp(ctx context.Context, r *region, old oldImage, id string) error {
	var errs []error
	if id != aws.ToString(old.ImageId) {
		errs = append(errs, r.redeprecate(ctx, old, id), p.pointTo(ctx, r, aws.ToString(old.ImageId), id))
		if len(old.launch) > 0 {
			_, err := r.attributes.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{
				ImageId: aws.String(id), LaunchPermission: &types.LaunchPermissionModifications{Add: old.launch},
			}, awsx.Once)
			errs = append(errs, err)
		}
	}
	if protectionOf(old.Image) == protected {
		_, err := r.attributes.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: aws.String(id)}, awsx.Once)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (r *region) redeprecate(ctx context.Context, old oldImage, id string) error {
	at, _ := time.Parse(time.RFC3339, aws.ToString(old.DeprecationTime)) // zero when it had none
	if !at.After(time.Now()) {
		return nil // EC2 does not take a time that has passed
	}
	_, err := r.attributes.EnableImageDeprecation(ctx, &ec2.EnableImageDeprecationInput{ImageId: aws.String(id), DeprecateAt: aws.Time(at)}, awsx.Once)
	return err
}

// pointTo lets our parameter name the image that was put back, if it named the
// old one.
func (p *Publisher) pointTo(ctx context.Context, r *region, old, id string) error {
	if p.SSMParameter == "" {
		return nil
	}
	now, err := r.parameter(ctx, p.SSMParameter)
	if err != nil || now == nil || aws.ToString(now.Value) != old {
		return err
	}
	_, err = r.parameters.PutParameter(ctx, &ssm.PutParameterInput{
		Name: aws.String(p.SSMParameter), Value: aws.String(id), Overwrite: aws.Bool(true), Type: ssmtypes.ParameterTypeString, DataType: now.DataType,
	})
	return err
}

// registerCommand registers an image and tags it; older versions of the command
// line cannot do both in one call.
func (r *region) registerCommand(in *ec2.RegisterImageInput) string {
	tags := in.TagSpecifications
	in.TagSpecifications = nil
	register := r.command("register-image", "--cli-input-json", requestJSON(in), "--query", "ImageId", "--output", "text")
	if len(tags) == 0 {
		return register
	}
	return r.command("create-tags", "--tags", requestJSON(tags[0].Tags)) + ` --resources "$(` + register + `)"`
}

// requestJSON is a request as the AWS command line reads it: without what is
// not set.
func requestJSON(in any) string {
	data, err := json.Marshal(in)
	var value any
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err == nil {
		data, err = json.Marshal(withoutEmpty(value))
	}
	if err != nil {
		return "{}" // structs of strings and numbers always encode
	}
	return string(data)
}

func withoutEmpty(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k, e := range v {
			if v[k] = withoutEmpty(e); v[k] == nil || v[k] == "" {
				delete(v, k)
			}
		}
	case []any:
		for i, e := range v {
			v[i] = withoutEmpty(e)
		}
	}
	return value
}

// sameSnapshots reports whether two images are made of the same snapshots.
func sameSnapshots(a, b types.Image) bool {
	x, y := mappedSnapshots(a), mappedSnapshots(b)
	if len(x) == 0 || len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i] != y[i] {
			return false
		}
	}
	return true
}
