// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	template "github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/builder/publish/boottest"
	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// stop stops the build machine, or waits until the last provisioner has. A spot
// machine cannot be stopped: CreateImage reboots it.
func (f *flow) stop(ctx context.Context, j *step.Job) error {
	if f.config.spot() || f.config.SkipCreateAMI {
		return nil
	}
	id, err := keyInstance.Get(j.State)
	if err != nil {
		return err
	}
	if f.config.DisableStopInstance {
		j.UI.Say("Waiting until the build machine has stopped by itself")
	} else {
		j.UI.Say("Stopping the build machine")
		if err := f.site.stop(ctx, f.ec2, id); err != nil {
			return err
		}
	}
	i, err := f.site.await(ctx, f.ec2, id, types.InstanceStateNameStopped)
	if err != nil {
		return err
	}
	return f.site.setENA(ctx, f.ec2, i, f.config.EnaSupport.ToBoolPointer())
}

func (s *site) stop(ctx context.Context, api instances, id string) error {
	_, err := api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{id}})
	return s.fail("stop instance "+id, err)
}

// setENA gives the stopped machine, and so the image, the wanted ENA attribute.
func (s *site) setENA(ctx context.Context, api instances, i types.Instance, want *bool) error {
	if want == nil || *want == aws.ToBool(i.EnaSupport) {
		return nil
	}
	_, err := api.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
		InstanceId: i.InstanceId, EnaSupport: &types.AttributeBooleanValue{Value: want},
	})
	return s.fail("set ena_support of "+aws.ToString(i.InstanceId), err)
}

// makeImage makes the image and publishes it.
func (f *flow) makeImage(ctx context.Context, j *step.Job) error {
	if f.config.SkipCreateAMI {
		j.UI.Say("skip_create_ami is set: no AMI is made")
		return nil
	}
	id, err := keyInstance.Get(j.State)
	if err != nil {
		return err
	}
	config, err := f.published(j)
	if err != nil {
		return err
	}
	p, err := publish.New(f.factory, config, j.UI)
	if err != nil {
		return err
	}
	devices := mappings(config.AMIMappings)
	result, err := p.Image(ctx, func(ctx context.Context, _ *ledger.Ledger, in publish.NewImage) (string, error) {
		return f.site.createImage(ctx, f.ec2, id, in, devices)
	})
	if err == nil {
		keyResult.Put(j.State, result)
	}
	return err
}

// discard removes the images of a build that was cancelled when they were there
// already, unless older ones have gone for them.
func (f *flow) discard(state multistep.StateBag) error {
	result, err := keyResult.Get(state)
	if err != nil {
		return nil // there is none
	}
	if f.config.ForceDeregister || f.config.KeepNewest > 0 {
		return fmt.Errorf("the images were complete by then and stay, since they may have replaced others: %s", result.ID())
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.config.UndoTimeout)
	defer cancel()
	return result.Destroy(ctx, f.factory)
}

// published is what publishing is told: the template's options and what this
// builder knows of the image.
func (f *flow) published(j *step.Job) (publish.Config, error) {
	config := f.config.Config
	image, err := keySource.Get(j.State)
	if err != nil {
		return config, err
	}
	data, err := keyData.Get(j.State)
	if err != nil {
		return config, err
	}
	p, err := keyPlace.Get(j.State)
	if err != nil {
		return config, err
	}
	f.bootTest(&config.BootTest, p)
	config.AMIArchitecture = string(image.Architecture)
	config.TemplateData, config.TemplateContext = data, f.config.ctx
	config.BuildSecrets = publish.SensitiveValues(f.config.PackerConfig)
	config.Provenance = map[string]string{
		"source": aws.ToString(image.ImageId), "source-name": aws.ToString(image.Name), "source-owner": aws.ToString(image.OwnerId),
	}
	config.About.Name, config.Maker = f.config.PackerBuildName, "rightimage-ebs"
	config.About.Source.AMI, config.About.Architecture = aws.ToString(image.ImageId), string(image.Architecture)
	return config, nil
}

// bootTest fills in what the template leaves open with what the build machine
// has: it is reached in the same way.
func (f *flow) bootTest(t *boottest.Config, p place) {
	t.InstanceType = cmp.Or(t.InstanceType, f.config.instanceTypes()[0])
	if t.SubnetID == "" {
		t.SubnetID = aws.ToString(p.subnets[0].SubnetId)
		if len(t.SecurityGroupIDs) == 0 {
			t.SecurityGroupIDs = p.groups
		}
	}
	if t.AssociatePublicIP.ToBoolPointer() == nil && p.publicIP != nil {
		t.AssociatePublicIP = template.TrileanFromBool(*p.publicIP)
	}
	if t.SSHInterface == "" && (p.iface == publicIP || p.iface == privateIP) {
		t.SSHInterface = p.iface
	}
	if len(t.SourceCIDRs) == 0 && len(t.SecurityGroupIDs) == 0 {
		t.SourceCIDRs = f.config.TemporarySGCIDRs
	}
	if f.config.withSSH() {
		t.SSHUsername = cmp.Or(t.SSHUsername, f.config.Comm.SSHUsername)
	}
}

// createImage makes an image of the machine and returns its id at once. EC2 has
// no idempotency token for it: when the name is taken, an image with our tag is
// the work of an earlier try whose reply was lost.
func (s *site) createImage(ctx context.Context, api imager, machine string, in publish.NewImage, devices []types.BlockDeviceMapping) (string, error) {
	s.say("%s: making image %q of %s", in.Region, in.Name, machine)
	out, err := api.CreateImage(ctx, &ec2.CreateImageInput{
		InstanceId: aws.String(machine), Name: aws.String(in.Name), Description: text(in.Description), BlockDeviceMappings: devices,
		TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeImage, Tags: in.ImageTags},
			{ResourceType: types.ResourceTypeSnapshot, Tags: in.SnapshotTags},
		},
	})
	if err == nil {
		return aws.ToString(out.ImageId), nil
	}
	if awsx.Class(err) == awsx.Conflict {
		id, lookErr := myImage(ctx, api, in)
		if id != "" {
			return id, nil
		}
		err = errors.Join(err, lookErr)
	}
	return "", s.fail("make an image of "+machine, err)
}

func myImage(ctx context.Context, api imager, in publish.NewImage) (string, error) {
	found, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{
		Owners: []string{"self"}, Filters: []types.Filter{filter("name", in.Name), filter("tag:rightimage:publish-id", in.PublishID)},
	})
	if err != nil || len(found.Images) == 0 {
		return "", err
	}
	return aws.ToString(found.Images[0].ImageId), nil
}
