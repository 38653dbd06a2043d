// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
)

func image(id, date string) types.Image {
	return types.Image{
		ImageId: aws.String(id), Name: aws.String("name of " + id), OwnerId: aws.String("111122223333"), CreationDate: aws.String(date),
		State: types.ImageStateAvailable, RootDeviceType: types.DeviceTypeEbs, Architecture: types.ArchitectureValuesX8664,
		VirtualizationType: types.VirtualizationTypeHvm, EnaSupport: aws.Bool(true), RootDeviceName: aws.String("/dev/xvda"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("web")}},
	}
}

func TestFindSource(t *testing.T) {
	ctx := context.Background()
	c, s := newCloud(), newSite(t)
	c.images = []types.Image{image("ami-1", "2024-01-01T00:00:00.000Z"), image("ami-3", "2024-03-01T00:00:00.000Z"), image("ami-2", "2024-02-01T00:00:00.000Z")}
	c.parameters = map[string]string{"/plain": " ami-2\n", "/json": `{"image_id": "ami-3", "image_name": "x"}`, "/wrong": "hello"}
	for name, tc := range map[string]struct {
		config SourceConfig
		id     string
		want   string // error
	}{
		"by id":               {SourceConfig{SourceAMI: "ami-1"}, "ami-1", ""},
		"absent id":           {SourceConfig{SourceAMI: "ami-9"}, "", "ami-9 is not there in us-east-1"},
		"parameter":           {SourceConfig{SourceAMISSMParameter: "/plain"}, "ami-2", ""},
		"parameter with JSON": {SourceConfig{SourceAMISSMParameter: "/json"}, "ami-3", ""},
		"no image id":         {SourceConfig{SourceAMISSMParameter: "/wrong"}, "", `/wrong holds "hello", which is no image id`},
		"no parameter":        {SourceConfig{SourceAMISSMParameter: "/none"}, "", "ParameterNotFound"},
		"newest, over pages":  {SourceConfig{SourceAMIFilter: AMIFilter{Filters: map[string]string{"name": "a,b"}, Owners: []string{"self"}, MostRecent: true}}, "ami-3", ""},
		"several":             {SourceConfig{SourceAMIFilter: AMIFilter{Filters: map[string]string{"name": "a"}, Owners: []string{"self"}}}, "", "3 images match in us-east-1 (ami-3 name of ami-3, ami-2 "},
		"none":                {SourceConfig{SourceAMIFilter: AMIFilter{Filters: map[string]string{"tag:team": "db"}, Owners: []string{"self"}}}, "", "include_deprecated"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.findSource(ctx, c, c, tc.config)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.id, aws.ToString(got.ImageId))
		})
	}
	_, err := s.findSource(ctx, c, c, SourceConfig{SourceAMIFilter: AMIFilter{
		Filters: map[string]string{"name": "a, b"}, Owners: []string{"self", "amazon"}, MostRecent: true, IncludeDeprecated: true,
	}})
	require.NoError(t, err)
	in := c.in["DescribeImages"].(*ec2.DescribeImagesInput)
	require.Equal(t, []string{"self", "amazon"}, in.Owners)
	require.True(t, aws.ToBool(in.IncludeDeprecated))
	require.Equal(t, []types.Filter{filter("name", "a", "b"), filter("state", "available")}, in.Filters)
}

func TestCheckSource(t *testing.T) {
	require.NoError(t, checkSource(image("ami-1", "")))
	bad := image("ami-1", "")
	bad.State, bad.RootDeviceType, bad.Platform = types.ImageStatePending, types.DeviceTypeInstanceStore, types.PlatformValuesWindows
	err := checkSource(bad)
	for _, text := range []string{"is pending", "instance-store", "Windows"} {
		require.ErrorContains(t, err, text)
	}
}

func TestCheckTypes(t *testing.T) {
	nitro := types.InstanceTypeInfo{
		InstanceType: "t3.small", ProcessorInfo: &types.ProcessorInfo{SupportedArchitectures: []types.ArchitectureType{"x86_64"}},
		NetworkInfo: &types.NetworkInfo{EnaSupport: types.EnaSupportRequired}, SupportedBootModes: []types.BootModeType{"legacy-bios", "uefi"},
		SupportedVirtualizationTypes: []types.VirtualizationType{"hvm"},
	}
	arm := nitro
	arm.InstanceType, arm.SupportedBootModes = "t4g.small", []types.BootModeType{"uefi"}
	arm.ProcessorInfo = &types.ProcessorInfo{SupportedArchitectures: []types.ArchitectureType{"arm64"}}
	c, s := newCloud(), newSite(t)
	c.kinds = []types.InstanceTypeInfo{nitro}
	good := image("ami-1", "")
	require.NoError(t, s.checkTypes(context.Background(), c, good, []string{"t3.small"}))

	preferred, old := good, good
	preferred.BootMode = "uefi-preferred"
	require.NoError(t, checkType(nitro, preferred))
	old.EnaSupport, old.VirtualizationType = aws.Bool(false), types.VirtualizationTypeParavirtual
	err := checkType(nitro, old)
	require.ErrorContains(t, err, "it needs an image with ENA")
	require.ErrorContains(t, err, "it has no paravirtual")
	bios := good
	bios.BootMode = "legacy-bios"
	c.kinds = []types.InstanceTypeInfo{nitro, arm}
	err = s.checkTypes(context.Background(), c, bios, []string{"t3.small", "t4g.small"})
	require.ErrorContains(t, err, "instance type t4g.small cannot run source AMI ami-1: it runs [arm64], and the image is for x86_64; it boots [uefi], and the image needs legacy-bios")
	require.NotContains(t, err.Error(), "t3.small")
}

func TestSourceData(t *testing.T) {
	data := sourceData("us-east-1", image("ami-1", "2024-01-01T00:00:00.000Z"))
	require.Equal(t, map[string]string{"team": "web"}, data["SourceAMITags"])
	data["InstanceID"] = "i-1"
	out := forProvisioners(data)
	require.Equal(t, `{"team":"web"}`, out["SourceAMITags"])
	require.Len(t, out, len(generated()))
	for _, name := range generated() {
		require.IsType(t, "", out[name], name)
		require.NotEmpty(t, out[name], name)
	}
}
