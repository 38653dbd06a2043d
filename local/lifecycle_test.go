// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"
)

func TestDeprecation(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("old")
	at := func(when time.Time) error {
		return second(c.ec2.EnableImageDeprecation(t.Context(), &ec2.EnableImageDeprecationInput{ImageId: &ami, DeprecateAt: &when}))
	}
	now := time.Now().UTC()
	require.Equal(t, "InvalidParameterValue", codeOf(t, at(now.Add(-time.Hour))))
	require.Equal(t, "InvalidParameterValue", codeOf(t, at(now.AddDate(11, 0, 0))))
	when := now.AddDate(3, 0, 0).Truncate(time.Minute).Add(40 * time.Second)
	require.NoError(t, at(when))
	require.Equal(t, when.Round(time.Minute).Format("2006-01-02T15:04:05.000Z"), *c.shown(c.ec2, ami).DeprecationTime)

	require.NoError(t, second(c.ec2.DisableImageBlockPublicAccess(t.Context(), &ec2.DisableImageBlockPublicAccessInput{})))
	require.NoError(t, c.share(ami, types.LaunchPermission{Group: types.PermissionGroupAll}))
	require.Less(t, *c.shown(c.ec2, ami).DeprecationTime, now.AddDate(2, 0, 1).Format(time.RFC3339), "two years for a public image")
	require.Equal(t, "InvalidParameterValue", codeOf(t, at(when)))
	require.NoError(t, second(c.ec2.ResetImageAttribute(t.Context(), &ec2.ResetImageAttributeInput{ImageId: &ami, Attribute: "launchPermission"})))
	require.NoError(t, second(c.ec2.DisableImageDeprecation(t.Context(), &ec2.DisableImageDeprecationInput{ImageId: &ami})))
	require.Nil(t, c.shown(c.ec2, ami).DeprecationTime)
}

func TestDeregistrationProtection(t *testing.T) {
	cfg := quiet(t)
	var skip atomic.Int64
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(skip.Load())) }
	c := start(t, cfg)
	ctx := t.Context()
	ami, _ := c.image("dear")
	protect := func(cooldown bool) {
		require.NoError(t, second(c.ec2.EnableImageDeregistrationProtection(ctx, &ec2.EnableImageDeregistrationProtectionInput{ImageId: &ami, WithCooldown: &cooldown})))
	}
	unprotect := func() {
		out, err := c.ec2.DisableImageDeregistrationProtection(ctx, &ec2.DisableImageDeregistrationProtectionInput{ImageId: &ami})
		require.NoError(t, err)
		require.Equal(t, "disabled", *out.Return)
	}
	deregister := func() error { return second(c.ec2.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &ami})) }
	protect(true)
	require.Equal(t, "enabled-with-cooldown", *c.shown(c.ec2, ami).DeregistrationProtection)
	require.Equal(t, "OperationNotPermitted", codeOf(t, deregister()))
	unprotect()
	require.Equal(t, "OperationNotPermitted", codeOf(t, deregister()), "it cools down")
	skip.Store(int64(23 * time.Hour))
	require.Equal(t, "OperationNotPermitted", codeOf(t, deregister()))
	skip.Store(int64(25 * time.Hour))
	require.NoError(t, deregister())

	ami, _ = c.image("less dear")
	protect(false)
	require.Equal(t, "OperationNotPermitted", codeOf(t, deregister()))
	unprotect()
	require.NoError(t, deregister())
}

func TestDisabledImages(t *testing.T) {
	c := start(t, quiet(t))
	ami, _ := c.image("off")
	require.NoError(t, c.share(ami, types.LaunchPermission{UserId: aws.String("111111111111")}))
	require.NoError(t, second(c.ec2.DisableImage(t.Context(), &ec2.DisableImageInput{ImageId: &ami})))
	out, err := c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(t, err)
	require.Empty(t, out.Images)
	require.Equal(t, types.ImageStateDisabled, c.shown(c.ec2, ami).State)
	require.Equal(t, "InvalidAMIID.Unavailable", codeOf(t, second(c.ec2.RunInstances(t.Context(), launchOne(ami)))))
	require.Equal(t, "InvalidAMIID.Unavailable", codeOf(t, c.share(ami, types.LaunchPermission{UserId: aws.String("111111111111")})))
	require.NoError(t, second(c.ec2.EnableImage(t.Context(), &ec2.EnableImageInput{ImageId: &ami})))
	require.NoError(t, second(c.ec2.RunInstances(t.Context(), launchOne(ami))))
}
