// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"encoding/base64"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
)

func fullMachine(t *testing.T) machine {
	s := newSite(t)
	m := testMachine(s, newCloud(), []string{"sg-1"}, "profile")
	m.devices = []publish.BlockDevice{
		{DeviceName: "/dev/xvda", VolumeSize: 9, VolumeType: "io2", IOPS: 500, Throughput: 125, SnapshotID: "snap-1", Encrypted: config.TriTrue, KmsKeyID: "key", DeleteOnTermination: config.TriFalse},
		{DeviceName: "/dev/sdb", VirtualName: "ephemeral0"},
		{DeviceName: "/dev/sdc", NoDevice: true},
	}
	m.maxPrice, m.strategy = "0.05", types.SpotAllocationStrategyCapacityOptimizedPrioritized
	return m
}

// What a launch on demand asks for, a fleet asks for as well.
func TestTemplateIsTheSameMachine(t *testing.T) {
	for name, public := range map[string]*bool{"as the subnet": nil, "public address": aws.Bool(true)} {
		t.Run(name, func(t *testing.T) {
			m := fullMachine(t)
			m.place.publicIP = public
			run, template := reflect.ValueOf(*m.request(0)), reflect.ValueOf(*m.template())
			elsewhere := map[string]bool{"MinCount": true, "MaxCount": true, "ClientToken": true, "InstanceType": true, "SubnetId": true}
			for i := range run.NumField() {
				field := run.Type().Field(i)
				if !field.IsExported() || run.Field(i).IsZero() || elsewhere[field.Name] {
					continue
				}
				other := template.FieldByName(field.Name)
				require.True(t, other.IsValid(), field.Name)
				require.False(t, other.IsZero(), "%s is missing in the launch template", field.Name)
			}
		})
	}
	m := fullMachine(t)
	for i, d := range m.request(0).BlockDeviceMappings {
		got := m.template().BlockDeviceMappings[i]
		require.Equal(t, d.DeviceName, got.DeviceName)
		require.Equal(t, d.NoDevice, got.NoDevice)
		require.Equal(t, d.VirtualName, got.VirtualName)
		if d.Ebs == nil {
			continue
		}
		ebs := reflect.ValueOf(*d.Ebs)
		for j := range ebs.NumField() {
			if f := ebs.Type().Field(j); f.IsExported() && !ebs.Field(j).IsZero() {
				require.Equal(t, ebs.Field(j).Interface(), reflect.ValueOf(*got.Ebs).FieldByName(f.Name).Interface(), f.Name)
			}
		}
	}
}

func TestRequest(t *testing.T) {
	m := fullMachine(t)
	in := m.request(1)
	require.Equal(t, types.HttpTokensStateRequired, in.MetadataOptions.HttpTokens)
	require.Equal(t, "subnet-b", *in.SubnetId)
	require.Equal(t, []string{"sg-1"}, in.SecurityGroupIds)
	require.Len(t, in.TagSpecifications, 3)
	for _, s := range in.TagSpecifications {
		require.Equal(t, "b1", tagOf(s.Tags, tagTemporary), s.ResourceType)
	}
	root := in.BlockDeviceMappings[0].Ebs
	require.Equal(t, int32(9), *root.VolumeSize)
	require.False(t, *root.DeleteOnTermination)
	require.Empty(t, *in.BlockDeviceMappings[2].NoDevice)

	m.place.publicIP = aws.Bool(false)
	in = m.request(0)
	require.Nil(t, in.SubnetId)
	require.Nil(t, in.SecurityGroupIds)
	nic := in.NetworkInterfaces[0]
	require.Equal(t, "subnet-a", *nic.SubnetId)
	require.Equal(t, []string{"sg-1"}, nic.Groups)
	require.False(t, *nic.AssociatePublicIpAddress)
}

// User-data is encoded once, always: also a script that happens to be base64,
// and gzip.
func TestUserData(t *testing.T) {
	for _, data := range []string{"#!/bin/sh\n", "aGVsbG8=", "\x1f\x8b\x08\x00gzip"} {
		got, err := base64.StdEncoding.DecodeString(*machine{userData: []byte(data)}.encodedUserData())
		require.NoError(t, err)
		require.Equal(t, data, string(got))
	}
	require.Nil(t, machine{}.encodedUserData())
}

func TestFleet(t *testing.T) {
	m := fullMachine(t)
	in := m.fleet("lt-1", types.TagSpecification{ResourceType: types.ResourceTypeFleet})
	require.Equal(t, types.FleetTypeInstant, in.Type)
	require.Equal(t, int32(1), *in.TargetCapacitySpecification.TotalTargetCapacity)
	require.Equal(t, types.DefaultTargetCapacityTypeSpot, in.TargetCapacitySpecification.DefaultTargetCapacityType)
	var got []string
	for _, o := range in.LaunchTemplateConfigs[0].Overrides {
		got = append(got, string(o.InstanceType)+" "+*o.SubnetId)
		require.Equal(t, "0.05", *o.MaxPrice)
		require.NotNil(t, o.Priority)
	}
	require.Equal(t, []string{"t3.small subnet-a", "t3.small subnet-b", "t3a.small subnet-a", "t3a.small subnet-b"}, got)
	m.maxPrice, m.strategy = "", types.SpotAllocationStrategyLowestPrice
	o := m.fleet("lt-1", types.TagSpecification{}).LaunchTemplateConfigs[0].Overrides[0]
	require.Nil(t, o.MaxPrice)
	require.Nil(t, o.Priority)

	c, s := newCloud(), newSite(t)
	c.noSpot = []types.CreateFleetError{{ErrorCode: aws.String("InsufficientInstanceCapacity"), ErrorMessage: aws.String("none")}, {ErrorCode: aws.String("InsufficientInstanceCapacity"), ErrorMessage: aws.String("none")}}
	_, err := s.launchSpot(t.Context(), c, testMachine(s, c, nil, ""))
	require.EqualError(t, err, "no spot machine of type t3.small, t3a.small was to be had: InsufficientInstanceCapacity: none: give more spot_instance_types, raise spot_price, or leave both out")
	require.NoError(t, s.owed.Settle(t.Context(), 5*60e9))
	require.Empty(t, c.left())
}

func TestRootDevice(t *testing.T) {
	c := publish.Config{VolumeSize: 20, VolumeType: "gp3", VolumeIOPS: 4000, VolumeThroughput: 250}
	extra := publish.BlockDevice{DeviceName: "/dev/sdf", VolumeSize: 1}
	got := rootDevice(c, image("ami-1", ""), []publish.BlockDevice{extra})
	require.Equal(t, []publish.BlockDevice{{DeviceName: "/dev/xvda", VolumeSize: 20, VolumeType: "gp3", IOPS: 4000, Throughput: 250}, extra}, got)
	own := []publish.BlockDevice{{DeviceName: "/dev/xvda", VolumeSize: 7}}
	require.Equal(t, own, rootDevice(c, image("ami-1", ""), own))
}

func TestEna(t *testing.T) {
	c, s := newCloud(), newSite(t)
	i := types.Instance{InstanceId: aws.String("i-1"), EnaSupport: aws.Bool(true)}
	require.NoError(t, s.setENA(t.Context(), c, i, nil))
	require.NoError(t, s.setENA(t.Context(), c, i, aws.Bool(true)))
	require.Empty(t, c.calls)
	require.NoError(t, s.setENA(t.Context(), c, i, aws.Bool(false)))
	require.Equal(t, []string{"ModifyInstanceAttribute"}, c.calls)
}
