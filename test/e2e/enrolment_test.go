// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/stretchr/testify/require"
)

// TestCopiedDisk boots an image of an enrolled instance, with the user-data of
// its server: the token was used, and the copy of the key is wiped. The copy
// boots to a login and is nobody; the original does not notice.
func TestCopiedDisk(t *testing.T) {
	needFull(t)
	s := machineRoom(t)
	ctx, cancel := context.WithTimeout(testContext(t), 25*time.Minute)
	defer cancel()
	const server = "copied-1"
	_, err := s.Platform.Admin(ctx, "server", "create", server, "--server-template", "Example web application", "--input", "SITE_TITLE=text:Original")
	require.NoError(t, err)
	userData, err := s.Platform.Admin(ctx, "server", "user-data", server)
	require.NoError(t, err)
	original, err := s.Cloud.Launch(ctx, server, s.Image, userData)
	require.NoError(t, err)
	require.NoError(t, s.Platform.WaitState(ctx, server, "operational"))

	image, err := s.Cloud.EC2.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: aws.String(original), Name: aws.String("copied-disk"), NoReboot: aws.Bool(true)})
	require.NoError(t, err)
	require.NoError(t, ec2.NewImageAvailableWaiter(s.Cloud.EC2, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay = time.Second }).
		Wait(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*image.ImageId}}, 5*time.Minute))
	clone, err := s.Cloud.Launch(ctx, "clone", *image.ImageId, userData)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Cloud.KeepConsole(clone, "clone") })
	waitAudit(ctx, t, s, server, "enrolment refused: "+clone)
	waitAudit(ctx, t, s, server, "was used by "+original)
	waitLogin(ctx, t, s, clone)
	require.Zero(t, instancesOf(ctx, t, s, clone), "the copy must not become an instance of the platform")

	reboot(ctx, t, s, server, original)
	require.Equal(t, original, serverOf(ctx, t, s, server).Instance.ResourceUID)
	for _, id := range []string{clone, original} {
		require.NoError(t, s.Cloud.Terminate(ctx, id))
	}
	waitDecommissioned(ctx, t, s, server)
}
