// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2instanceconnect"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

func TestParameters(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	ctx, client := t.Context(), ssm.NewFromConfig(c.config(region))
	first, _ := c.image("first")
	other, _ := c.image("second")
	name := aws.String("/images/debian/latest")
	put := func(value string, overwrite bool) (*ssm.PutParameterOutput, error) {
		return client.PutParameter(ctx, &ssm.PutParameterInput{
			Name: name, Value: &value, Type: types.ParameterTypeString, DataType: aws.String("aws:ec2:image"), Overwrite: &overwrite,
		})
	}
	out, err := put(first, false)
	require.NoError(t, err)
	require.EqualValues(t, 1, out.Version)
	var there *types.ParameterAlreadyExists
	require.ErrorAs(t, second(put(other, false)), &there)
	require.Equal(t, "ValidationException", codeOf(t, second(put("ami-00000000000000000", true))), "no such image")
	out, err = put(other, true)
	require.NoError(t, err)
	require.EqualValues(t, 2, out.Version)

	c.stop()
	c = start(t, cfg)
	client = ssm.NewFromConfig(c.config(region))
	get := func(name string) (*types.Parameter, error) {
		out, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil {
			return nil, err
		}
		return out.Parameter, nil
	}
	p, err := get(*name)
	require.NoError(t, err)
	require.Equal(t, other, *p.Value)
	require.Equal(t, "aws:ec2:image", *p.DataType)
	require.Equal(t, "arn:aws:ssm:eu-west-1:000000000000:parameter/images/debian/latest", *p.ARN)
	require.False(t, p.LastModifiedDate.IsZero())
	old, err := get(*name + ":1")
	require.NoError(t, err)
	require.Equal(t, first+" :1", *old.Value+" "+*old.Selector)
	byARN, err := get(*p.ARN)
	require.NoError(t, err)
	require.Equal(t, other, *byARN.Value)
	require.Equal(t, "ParameterVersionNotFound", codeOf(t, second(get(*name+":7"))))
	var none *types.ParameterNotFound
	require.ErrorAs(t, second(get("/images/none")), &none)
	elsewhereClient := ssm.NewFromConfig(c.config(elsewhere))
	require.ErrorAs(t, second(elsewhereClient.GetParameter(ctx, &ssm.GetParameterInput{Name: name})), &none)

	history, err := client.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: name})
	require.NoError(t, err)
	require.Len(t, history.Parameters, 2)
	require.NoError(t, second(client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name})))
	require.ErrorAs(t, second(client.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name})), &none)
}

func TestParameterLists(t *testing.T) {
	c := start(t, quiet(t))
	ctx, client := t.Context(), ssm.NewFromConfig(c.config(region))
	for _, name := range []string{"/a/1", "/a/b/2", "/a/b/3", "/c", "plain", "/aws/service/debian/latest"} {
		require.NoError(t, second(client.PutParameter(ctx, &ssm.PutParameterInput{
			Name: &name, Value: aws.String("v of " + name), Type: types.ParameterTypeString, Tags: []types.Tag{{Key: aws.String("t"), Value: &name}},
		})))
	}
	require.NoError(t, second(client.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/secret"), Value: aws.String("hidden"), Type: types.ParameterTypeSecureString})))
	list := func(path string, recursive bool) (names []string) {
		pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{Path: &path, Recursive: &recursive, MaxResults: aws.Int32(2)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			require.NoError(t, err)
			for _, p := range page.Parameters {
				names = append(names, *p.Name)
			}
		}
		return names
	}
	require.Equal(t, []string{"/a/1"}, list("/a", false))
	require.Equal(t, []string{"/a/1", "/a/b/2", "/a/b/3"}, list("/a/", true))
	require.Equal(t, []string{"/c", "/secret"}, list("/", false))

	got, err := client.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"/c", "none", "plain", "/secret"}})
	require.NoError(t, err)
	require.Equal(t, []string{"none"}, got.InvalidParameters)
	require.Len(t, got.Parameters, 3)
	require.NotContains(t, *got.Parameters[2].Value, "hidden")
	clear, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/secret"), WithDecryption: aws.Bool(true)})
	require.NoError(t, err)
	require.Equal(t, "hidden", *clear.Parameter.Value)

	described, err := client.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{
		{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"/a/b/"}}, {Key: aws.String("tag:t"), Values: []string{"/a/b/3"}},
	}})
	require.NoError(t, err)
	require.Equal(t, "/a/b/3", *described.Parameters[0].Name)
	require.Len(t, described.Parameters, 1)

	target := ssm.AddTagsToResourceInput{ResourceType: types.ResourceTypeForTaggingParameter, ResourceId: aws.String("/c"), Tags: []types.Tag{{Key: aws.String("u"), Value: aws.String("1")}}}
	require.NoError(t, second(client.AddTagsToResource(ctx, &target)))
	require.NoError(t, second(client.RemoveTagsFromResource(ctx, &ssm.RemoveTagsFromResourceInput{ResourceType: target.ResourceType, ResourceId: target.ResourceId, TagKeys: []string{"t"}})))
	tags, err := client.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: target.ResourceType, ResourceId: target.ResourceId})
	require.NoError(t, err)
	require.Equal(t, target.Tags, tags.TagList)
	deleted, err := client.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/c", "none"}})
	require.NoError(t, err)
	require.Equal(t, []string{"/c"}, deleted.DeletedParameters)
}

func TestParameterRefusals(t *testing.T) {
	c := start(t, quiet(t))
	ctx, client := t.Context(), ssm.NewFromConfig(c.config(region))
	put := func(tweak func(*ssm.PutParameterInput)) error {
		in := &ssm.PutParameterInput{Name: aws.String("/n"), Value: aws.String("v"), Type: types.ParameterTypeString, Overwrite: aws.Bool(true)}
		tweak(in)
		return second(client.PutParameter(ctx, in))
	}
	require.NoError(t, put(func(*ssm.PutParameterInput) {}))
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"reserved":     {put(func(in *ssm.PutParameterInput) { in.Name = aws.String("/aws/mine") }), "ValidationException"},
		"name":         {put(func(in *ssm.PutParameterInput) { in.Name = aws.String("a b") }), "ValidationException"},
		"no slash":     {put(func(in *ssm.PutParameterInput) { in.Name = aws.String("a/b") }), "ValidationException"},
		"type":         {put(func(in *ssm.PutParameterInput) { in.Type = types.ParameterTypeStringList }), "HierarchyTypeMismatchException"},
		"no type":      {put(func(in *ssm.PutParameterInput) { in.Name, in.Type = aws.String("/m"), "" }), "ValidationException"},
		"data type":    {put(func(in *ssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:image") }), "ValidationException"},
		"image":        {put(func(in *ssm.PutParameterInput) { in.Name, in.DataType = aws.String("/m"), aws.String("aws:ec2:image") }), "ValidationException"},
		"large":        {put(func(in *ssm.PutParameterInput) { in.Value = aws.String(strings.Repeat("x", 4097)) }), "ValidationException"},
		"pattern":      {put(func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String("^[0-9]+$") }), "ParameterPatternMismatchException"},
		"tags":         {put(func(in *ssm.PutParameterInput) { in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}} }), "ValidationException"},
		"policies":     {put(func(in *ssm.PutParameterInput) { in.Policies = aws.String("[]") }), "UnsupportedOperation"},
		"label":        {second(client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/n:newest")})), "UnsupportedOperation"},
		"session":      {second(client.StartSession(ctx, &ssm.StartSessionInput{Target: aws.String("i-1")})), "UnsupportedOperation"},
		"path":         {second(client.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: aws.String("a")})), "ValidationException"},
		"filter":       {second(client.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Colour")}}})), "InvalidFilterKey"},
		"ssh key push": {second(ec2instanceconnect.NewFromConfig(c.config(region)).SendSSHPublicKey(ctx, &ec2instanceconnect.SendSSHPublicKeyInput{InstanceId: aws.String("i-1"), InstanceOSUser: aws.String("u"), SSHPublicKey: aws.String("k")})), "UnsupportedOperation"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, codeOf(t, tc.err)) })
	}
	for kind, want := range map[fault.Kind]string{fault.Throttle: "ThrottlingException", fault.Deny: "AccessDeniedException"} {
		_, err := c.Faults().Add(fault.Rule{Service: "ssm", Action: "GetParameter", Kind: kind, Times: 1})
		require.NoError(t, err)
		require.Equal(t, want, codeOf(t, second(client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/n")}))))
		c.Faults().Remove("")
	}
}
