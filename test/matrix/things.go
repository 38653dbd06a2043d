// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package matrix

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// Thing is something in the cloud that somebody made.
type Thing struct {
	Region, Kind string
	// ID names it for EC2; an image that was registered again has a new one.
	ID string
	// Text is everything else that is to stay the same; Raw, if there is one, may
	// stay the same in its place.
	Text, Raw string
}

func (t Thing) String() string { return fmt.Sprintf("%s %s in %s: %s", t.Kind, t.ID, t.Region, t.Text) }

// same reports whether one thing stands for the other.
func (t Thing) same(o Thing) bool {
	text := t.Text == o.Text || t.Raw != "" && t.Raw == o.Raw
	return t.Region == o.Region && t.Kind == o.Kind && text && (t.ID == o.ID || t.Kind == "image")
}

// Minus are the things of a that b has not.
func Minus(a, b []Thing) (rest []Thing) {
	b = slices.Clone(b)
	for _, t := range a {
		if i := slices.IndexFunc(b, t.same); i >= 0 {
			b = slices.Delete(b, i, i+1)
			continue
		}
		rest = append(rest, t)
	}
	return rest
}

// Things lists everything in both regions.
func (c *Cloud) Things(ctx context.Context) ([]Thing, error) {
	f, err := c.Factory(ctx)
	if err != nil {
		return nil, err
	}
	return Things(ctx, f, Here, There)
}

// Things lists everything that somebody has made in some regions of a cloud.
// Terminated machines and default groups are not.
func Things(ctx context.Context, f *awsx.Factory, regions ...string) ([]Thing, error) {
	var all []Thing
	for i, region := range regions {
		l := &lister{ctx: ctx, region: region, ec2: f.EC2(region)}
		l.images()
		l.snapshots()
		l.machines()
		l.groups()
		l.others()
		l.parameters(f)
		if i == 0 {
			l.roles(f)
		}
		if l.err != nil {
			return nil, fmt.Errorf("list %s: %w", region, l.err)
		}
		all = append(all, l.things...)
	}
	return all, nil
}

// lister keeps the first error, so that listing reads as a list.
type lister struct {
	ctx    context.Context //nolint:containedctx // lives as long as one listing
	region string
	ec2    *ec2.Client
	things []Thing
	err    error
}

func (l *lister) add(kind string, id *string, text ...any) {
	l.things = append(l.things, Thing{Region: l.region, Kind: kind, ID: aws.ToString(id), Text: fmt.Sprint(text...)})
}

func (l *lister) failed(err error) bool {
	if l.err == nil {
		l.err = err
	}
	return err != nil
}

func (l *lister) images() {
	out, err := l.ec2.DescribeImages(l.ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true)})
	if l.failed(err) {
		return
	}
	for _, i := range out.Images {
		attr, err := l.ec2.DescribeImageAttribute(l.ctx, &ec2.DescribeImageAttributeInput{ImageId: i.ImageId, Attribute: types.ImageAttributeNameLaunchPermission})
		if l.failed(err) {
			return
		}
		l.add("image", i.ImageId, aws.ToString(i.Name), " ", i.State, " ", i.Architecture, " ", i.BootMode, " ", i.ImdsSupport, " ", i.TpmSupport,
			" deprecated ", aws.ToString(i.DeprecationTime), " protection ", aws.ToString(i.DeregistrationProtection),
			" ", devices(i), " ", permissions(attr.LaunchPermissions), " ", tags(i.Tags), " ", aws.ToString(i.Description))
	}
}

func devices(i types.Image) string {
	var all []string
	for _, d := range i.BlockDeviceMappings {
		text := aws.ToString(d.DeviceName)
		if d.Ebs != nil {
			text += fmt.Sprintf("=%s/%d/%s/%t", aws.ToString(d.Ebs.SnapshotId), aws.ToInt32(d.Ebs.VolumeSize), d.Ebs.VolumeType, aws.ToBool(d.Ebs.Encrypted))
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

func permissions(all []types.LaunchPermission) string {
	var out []string
	for _, p := range all {
		out = append(out, aws.ToString(p.UserId)+string(p.Group)+aws.ToString(p.OrganizationArn)+aws.ToString(p.OrganizationalUnitArn))
	}
	sort.Strings(out)
	return fmt.Sprint(out)
}

func tags(all []types.Tag) string {
	var out []string
	for _, t := range all {
		out = append(out, aws.ToString(t.Key)+"="+aws.ToString(t.Value))
	}
	sort.Strings(out)
	return fmt.Sprint(out)
}

func (l *lister) snapshots() {
	out, err := l.ec2.DescribeSnapshots(l.ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
	if l.failed(err) {
		return
	}
	for _, s := range out.Snapshots {
		l.add("snapshot", s.SnapshotId, s.State, " ", aws.ToBool(s.Encrypted), " ", aws.ToString(s.KmsKeyId), " ", tags(s.Tags))
	}
}

func (l *lister) machines() {
	out, err := l.ec2.DescribeInstances(l.ctx, &ec2.DescribeInstancesInput{})
	if l.failed(err) {
		return
	}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if i.State.Name != types.InstanceStateNameTerminated {
				l.add("instance", i.InstanceId, i.State.Name)
			}
		}
	}
	volumes, err := l.ec2.DescribeVolumes(l.ctx, &ec2.DescribeVolumesInput{})
	if l.failed(err) {
		return
	}
	for _, v := range volumes.Volumes {
		l.add("volume", v.VolumeId, v.State)
	}
}

func (l *lister) groups() {
	out, err := l.ec2.DescribeSecurityGroups(l.ctx, &ec2.DescribeSecurityGroupsInput{})
	if l.failed(err) {
		return
	}
	for _, g := range out.SecurityGroups {
		if aws.ToString(g.GroupName) != "default" {
			l.add("group", g.GroupId, aws.ToString(g.GroupName))
		}
	}
	keys, err := l.ec2.DescribeKeyPairs(l.ctx, &ec2.DescribeKeyPairsInput{})
	if l.failed(err) {
		return
	}
	for _, k := range keys.KeyPairs {
		l.add("key pair", k.KeyName, aws.ToString(k.KeyPairId))
	}
}

func (l *lister) others() {
	templates, err := l.ec2.DescribeLaunchTemplates(l.ctx, &ec2.DescribeLaunchTemplatesInput{})
	if l.failed(err) {
		return
	}
	for _, t := range templates.LaunchTemplates {
		l.add("launch template", t.LaunchTemplateId, aws.ToString(t.LaunchTemplateName))
	}
	fleets, err := l.ec2.DescribeFleets(l.ctx, &ec2.DescribeFleetsInput{})
	if l.failed(err) {
		return
	}
	for _, f := range fleets.Fleets {
		if f.FleetState != types.FleetStateCodeDeleted && f.FleetState != types.FleetStateCodeDeletedTerminatingInstances {
			l.add("fleet", f.FleetId, f.FleetState)
		}
	}
}

// parameters that hold an image say which one by its name, for an image that
// was registered again has another id.
func (l *lister) parameters(f *awsx.Factory) {
	out, err := f.SSM(l.region).GetParametersByPath(l.ctx, &ssm.GetParametersByPathInput{Path: aws.String("/"), Recursive: aws.Bool(true)})
	if l.failed(err) {
		return
	}
	for _, p := range out.Parameters {
		value := aws.ToString(p.Value)
		for _, t := range l.things {
			if t.Kind == "image" && t.ID == value {
				value = "the image " + t.Text
			}
		}
		l.add("parameter", p.Name, value, " ", p.Type, " ", aws.ToString(p.DataType))
		l.things[len(l.things)-1].Raw = aws.ToString(p.Value)
	}
}

func (l *lister) roles(f *awsx.Factory) {
	roles, err := f.IAM(l.region).ListRoles(l.ctx, &iam.ListRolesInput{})
	if l.failed(err) {
		return
	}
	for _, r := range roles.Roles {
		l.add("role", r.RoleName)
	}
	profiles, err := f.IAM(l.region).ListInstanceProfiles(l.ctx, &iam.ListInstanceProfilesInput{})
	if l.failed(err) {
		return
	}
	for _, p := range profiles.InstanceProfiles {
		l.add("instance profile", p.InstanceProfileName)
	}
}
