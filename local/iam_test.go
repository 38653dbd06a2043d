// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

const (
	ec2Trust   = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
	readPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*"],"Resource":"*"}]}`
)

// config is what any client of the SDK needs; it does not retry.
func (c *cloud) config(region string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(c.Info().Endpoint),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

// TestTemporaryInstanceProfile goes through what a builder does for a build
// machine's role, and back.
func TestTemporaryInstanceProfile(t *testing.T) {
	cfg := quiet(t)
	c := start(t, cfg)
	client, ctx := iam.NewFromConfig(c.config("us-west-2")), t.Context()
	role, profile := aws.String("packer-1"), aws.String("packer-profile-1")
	made, err := client.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: role, AssumeRolePolicyDocument: aws.String(ec2Trust), Path: aws.String("/build/"), Description: aws.String("for a build"),
		Tags: []iamtypes.Tag{{Key: aws.String("a"), Value: aws.String("1")}},
	})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::000000000000:role/build/packer-1", *made.Role.Arn)
	require.Regexp(t, `^AROA[A-Z2-7]{17}$`, *made.Role.RoleId)
	require.NoError(t, second(client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("p"), PolicyDocument: aws.String(readPolicy)})))
	managed := aws.String("arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore")
	require.NoError(t, second(client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: managed})))
	require.NoError(t, second(client.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: profile})))
	require.NoError(t, second(client.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: profile, RoleName: role})))
	require.Equal(t, "LimitExceeded", codeOf(t, second(client.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: profile, RoleName: role}))))

	c.stop()
	c = start(t, cfg)
	client = iam.NewFromConfig(c.config(region))
	got, err := client.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: profile})
	require.NoError(t, err)
	require.Equal(t, "packer-1", *got.InstanceProfile.Roles[0].RoleName)
	policy, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("p")})
	require.NoError(t, err)
	text, err := url.PathUnescape(*policy.PolicyDocument)
	require.NoError(t, err)
	require.JSONEq(t, readPolicy, text)
	names, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: role})
	require.NoError(t, err)
	require.Equal(t, []string{"p"}, names.PolicyNames)
	attached, err := client.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role})
	require.NoError(t, err)
	require.Equal(t, "AmazonSSMManagedInstanceCore", *attached.AttachedPolicies[0].PolicyName)

	// Undone in the wrong order, each step says what is in its way.
	drop := func() error { return second(client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role})) }
	var inTheWay *iamtypes.DeleteConflictException
	require.ErrorAs(t, drop(), &inTheWay)
	require.Contains(t, *inTheWay.Message, "detach all policies")
	require.NoError(t, second(client.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: role, PolicyArn: managed})))
	require.ErrorContains(t, drop(), "must delete policies first")
	require.NoError(t, second(client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String("p")})))
	require.ErrorContains(t, drop(), "must remove roles from instance profile first")
	gone := func() error {
		return second(client.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: profile}))
	}
	require.Equal(t, "DeleteConflict", codeOf(t, gone()))
	require.NoError(t, second(client.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: profile, RoleName: role})))
	require.NoError(t, gone())
	require.NoError(t, drop())
	require.Equal(t, "NoSuchEntity", codeOf(t, drop()))
}

func TestIAMRefusals(t *testing.T) {
	c := start(t, quiet(t))
	client, ctx := iam.NewFromConfig(c.config("us-east-1")), t.Context()
	create := func(name, trust string) error {
		return second(client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}))
	}
	put := func(document string) error {
		return second(client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("taken"), PolicyName: aws.String("p"), PolicyDocument: &document}))
	}
	require.NoError(t, create("taken", ec2Trust))
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"twice":              {create("TAKEN", ec2Trust), "EntityAlreadyExists"},
		"name":               {create("a/b", ec2Trust), "ValidationError"},
		"no json":            {create("r", "{"), "MalformedPolicyDocument"},
		"no principal":       {create("r", readPolicy), "MalformedPolicyDocument"},
		"principal":          {put(ec2Trust), "MalformedPolicyDocument"},
		"no resource":        {put(`{"Statement":{"Effect":"Allow","Action":"*"}}`), "MalformedPolicyDocument"},
		"effect":             {put(`{"Statement":{"Effect":"Maybe","Action":"*","Resource":"*"}}`), "MalformedPolicyDocument"},
		"no such role":       {second(client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("none")})), "NoSuchEntity"},
		"no such policy":     {second(client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String("taken"), PolicyName: aws.String("x")})), "NoSuchEntity"},
		"own policy":         {second(client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("taken"), PolicyArn: aws.String("arn:aws:iam::000000000000:policy/x-own")})), "NoSuchEntity"},
		"no such profile":    {second(client.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: aws.String("none")})), "NoSuchEntity"},
		"unsupported":        {second(client.ListUsers(ctx, &iam.ListUsersInput{})), "UnsupportedOperation"},
		"too large MaxItems": {second(client.ListRoles(ctx, &iam.ListRolesInput{MaxItems: aws.Int32(5000)})), "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, codeOf(t, tc.err)) })
	}
}

func TestIAMListsAndTags(t *testing.T) {
	c := start(t, quiet(t))
	client, ctx := iam.NewFromConfig(c.config(region)), t.Context()
	for _, name := range []string{"c", "a", "b"} {
		require.NoError(t, second(client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(ec2Trust)})))
		require.NoError(t, second(client.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name})))
	}
	var names []string
	pages := iam.NewListRolesPaginator(client, &iam.ListRolesInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, role := range page.Roles {
			names = append(names, *role.RoleName)
		}
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	profiles, err := client.ListInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{})
	require.NoError(t, err)
	require.Len(t, profiles.InstanceProfiles, 3)
	require.NoError(t, second(client.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("b"), RoleName: aws.String("a")})))
	of, err := client.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: aws.String("a")})
	require.NoError(t, err)
	require.Equal(t, "b", *of.InstanceProfiles[0].InstanceProfileName)

	tags := []iamtypes.Tag{{Key: aws.String("x"), Value: aws.String("1")}, {Key: aws.String("y"), Value: aws.String("2")}}
	require.NoError(t, second(client.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("a"), Tags: tags})))
	require.NoError(t, second(client.UntagRole(ctx, &iam.UntagRoleInput{RoleName: aws.String("a"), TagKeys: []string{"x"}})))
	got, err := client.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: aws.String("a")})
	require.NoError(t, err)
	require.Equal(t, tags[1:], got.Tags)
}

func TestAssumeRole(t *testing.T) {
	cfg := quiet(t)
	var skip atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skip.Load())) }
	cfg.AccessKey, cfg.SecretKey = "key", "secret"
	c := start(t, cfg)
	ctx, base := t.Context(), c.config(region)
	trust := `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::000000000000:root"]},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"right"}}}]}`
	made, err := iam.NewFromConfig(base).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("publish"), AssumeRolePolicyDocument: &trust})
	require.NoError(t, err)
	client := sts.NewFromConfig(base)
	assume := func(arn, external string) (*sts.AssumeRoleOutput, error) {
		return client.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("build"), ExternalId: &external, DurationSeconds: aws.Int32(900)})
	}
	require.Equal(t, "AccessDenied", codeOf(t, second(assume(*made.Role.Arn, "wrong"))))
	require.Equal(t, "AccessDenied", codeOf(t, second(assume("arn:aws:iam::000000000000:role/none", "right"))))
	out, err := assume(*made.Role.Arn, "right")
	require.NoError(t, err)

	temp := base.Copy()
	temp.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	who, err := sts.NewFromConfig(temp).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:sts::000000000000:assumed-role/publish/build", *who.Arn)
	require.NoError(t, second(ec2.NewFromConfig(temp).DescribeRegions(ctx, &ec2.DescribeRegionsInput{})))
	stolen := temp.Copy()
	stolen.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, "")
	require.Equal(t, "AuthFailure", codeOf(t, second(ec2.NewFromConfig(stolen).DescribeRegions(ctx, &ec2.DescribeRegionsInput{}))))
	skip.Store(int64(4 * time.Minute)) // the signature is checked against the same clock
	require.NoError(t, second(ec2.NewFromConfig(temp).DescribeRegions(ctx, &ec2.DescribeRegionsInput{})))
}

func TestDecodeAuthorizationMessage(t *testing.T) {
	cfg := quiet(t)
	cfg.Deny = []string{"ec2:DescribeImages"}
	c := start(t, cfg)
	_, err := c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	var denied smithy.APIError
	require.ErrorAs(t, err, &denied)
	_, encoded, ok := strings.Cut(denied.ErrorMessage(), "Encoded authorization failure message: ")
	require.True(t, ok)
	client := sts.NewFromConfig(c.config(region))
	out, err := client.DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: &encoded})
	require.NoError(t, err)
	require.Contains(t, *out.DecodedMessage, `"action":"ec2:DescribeImages"`)
	_, err = client.DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("x")})
	require.Equal(t, "InvalidAuthorizationMessageException", codeOf(t, err))
}

func TestFaultsSpeakIAM(t *testing.T) {
	c := start(t, quiet(t))
	client := iam.NewFromConfig(c.config(region))
	list := func() error { return second(client.ListRoles(t.Context(), &iam.ListRolesInput{})) }
	for kind, want := range map[fault.Kind]string{fault.Throttle: "Throttling", fault.Deny: "AccessDenied"} {
		_, err := c.Faults().Add(fault.Rule{Action: "ListRoles", Kind: kind, Times: 1})
		require.NoError(t, err)
		require.Equal(t, want, codeOf(t, list()))
		c.Faults().Remove("")
	}
	_, err := c.Faults().Add(fault.Rule{Action: "GetRole", Kind: fault.Unseen, Times: 1})
	require.NoError(t, err)
	require.NoError(t, second(client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(ec2Trust)})))
	get := func() error { return second(client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("r")})) }
	require.Equal(t, "NoSuchEntity", codeOf(t, get()))
	require.NoError(t, get())
}
