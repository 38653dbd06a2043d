// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package datasource

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish/catalogue"
)

func TestPrepare(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  map[string]any
		want []string
	}{
		"good":              {map[string]any{"region": "eu-west-1", "family": "web"}, nil},
		"filters alone":     {map[string]any{"region": "eu-west-1", "filters": map[string]string{"name": "x*"}, "owners": []string{"amazon"}}, nil},
		"nothing":           {map[string]any{}, []string{"region: missing", "family: missing"}},
		"architecture":      {map[string]any{"region": "eu-west-1", "family": "web", "architecture": "amd64"}, []string{"architecture: is \"amd64\""}},
		"catalogue, owners": {map[string]any{"region": "eu-west-1", "family": "web", "catalogue_file": "x", "owners": []string{"self"}}, []string{"catalogue_file"}},
		"typing error":      {map[string]any{"region": "eu-west-1", "famly": "web"}, []string{"famly", "family: missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := new(Datasource).Configure(tc.raw)
			if tc.want == nil {
				require.NoError(t, err)
			}
			for _, w := range tc.want {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

// images answers with one image per page.
type images struct {
	list []types.Image
	in   *ec2.DescribeImagesInput
}

func (i *images) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	i.in = in
	out := &ec2.DescribeImagesOutput{}
	n := len(aws.ToString(in.NextToken))
	if n < len(i.list) {
		out.Images = i.list[n : n+1]
	}
	if n+1 < len(i.list) {
		out.NextToken = aws.String(aws.ToString(in.NextToken) + "x")
	}
	return out, nil
}

func TestNewestOfEC2(t *testing.T) {
	api := &images{list: []types.Image{
		{ImageId: aws.String("ami-1"), CreationDate: aws.String("2030-01-01T00:00:00.000Z")},
		{
			ImageId: aws.String("ami-3"), CreationDate: aws.String("2030-01-03T00:00:00.000Z"), Name: aws.String("three"), OwnerId: aws.String("1"), Architecture: types.ArchitectureValuesArm64,
			Tags:                []types.Tag{{Key: aws.String("A"), Value: aws.String("B")}},
			BlockDeviceMappings: []types.BlockDeviceMapping{{Ebs: &types.EbsBlockDevice{SnapshotId: aws.String("snap-3")}}, {VirtualName: aws.String("ephemeral0")}},
		},
		{ImageId: aws.String("ami-2"), CreationDate: aws.String("2030-01-02T00:00:00.000Z")},
	}}
	d := new(Datasource)
	require.NoError(t, d.Configure(map[string]any{
		"region": "eu-west-1", "family": "web, old", "architecture": "arm64", "filters": map[string]string{"name": "a*,b*", "state": "disabled"}, "include_deprecated": true,
	}))
	out, err := d.config.fromEC2(t.Context(), api)
	require.NoError(t, err)
	require.Equal(t, &Output{
		ID: "ami-3", Name: "three", CreationDate: "2030-01-03T00:00:00.000Z", Owner: "1", Tags: map[string]string{"A": "B"},
		SnapshotIDs: []string{"snap-3"}, Architecture: "arm64", Region: "eu-west-1",
	}, out)
	require.Equal(t, []string{"self"}, api.in.Owners)
	require.True(t, *api.in.IncludeDeprecated)
	require.Equal(t, []types.Filter{
		{Name: aws.String("architecture"), Values: []string{"arm64"}}, {Name: aws.String("name"), Values: []string{"a*", "b*"}},
		{Name: aws.String("state"), Values: []string{"disabled"}}, {Name: aws.String("tag:rightimage:family"), Values: []string{"web, old"}},
	}, api.in.Filters)

	d = new(Datasource)
	require.NoError(t, d.Configure(map[string]any{"region": "eu-west-1", "family": "web"}))
	_, err = d.config.fromEC2(t.Context(), &images{})
	require.EqualError(t, err, `no available image of family "web" of self is in eu-west-1; deprecated ones count with include_deprecated = true`)
}

func TestNewestOfACatalogue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalogue.json")
	require.NoError(t, catalogue.Update(path, func(f *catalogue.File) error {
		for i, arch := range []string{"x86_64", "arm64", "x86_64"} {
			f.Put(catalogue.Entry{
				Name: "web", Family: "web", BuiltBy: "test", Architecture: arch, Built: time.Date(2030, 1, i+1, 0, 0, 0, 0, time.UTC), PublishID: arch + string(rune('0'+i)),
				Images: map[string]catalogue.Image{"eu-west-1": {ImageID: "ami-" + string(rune('0'+i)), SnapshotIDs: []string{"snap"}}},
			})
		}
		return nil
	}))
	find := func(region, family, arch string) (string, error) {
		d := new(Datasource)
		require.NoError(t, d.Configure(map[string]any{"region": region, "family": family, "architecture": arch, "catalogue_file": path}))
		v, err := d.Execute()
		if err != nil {
			return "", err
		}
		require.Empty(t, v.Type().TestConformance(hcldec.ImpliedType(d.OutputSpec())))
		return v.GetAttr("id").AsString(), nil
	}
	id, err := find("eu-west-1", "web", "")
	require.NoError(t, err)
	require.Equal(t, "ami-2", id)
	id, err = find("eu-west-1", "web", "arm64")
	require.NoError(t, err)
	require.Equal(t, "ami-1", id)
	_, err = find("us-east-1", "web", "arm64")
	require.ErrorContains(t, err, `with 3 entries, has no image of family "web" for arm64 in us-east-1`)
	_, err = find("eu-west-1", "db", "")
	require.ErrorContains(t, err, `family "db"`)
}
