// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

func TestSignaturesAreVerified(t *testing.T) {
	cfg := quiet(t)
	cfg.AccessKey, cfg.SecretKey = "AKIDLOCAL", "s3cr3t/+="
	c := start(t, cfg)
	c.ec2, c.ebs = c.clients(region, "AKIDLOCAL", "s3cr3t/+=")
	ami, _ := c.image("signed (and tested)") // blocks, headers, query and form are all signed
	_, err := c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	require.NoError(t, err)

	badEC2, badEBS := c.clients(region, "AKIDLOCAL", "guess")
	_, err = badEC2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	require.Equal(t, "AuthFailure", codeOf(t, err))
	_, err = badEBS.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.Equal(t, "InvalidSignatureException", codeOf(t, err))
	otherEC2, otherEBS := c.clients(region, "AKIDOTHER", "s3cr3t/+=")
	_, err = otherEC2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	require.Equal(t, "AuthFailure", codeOf(t, err))
	_, err = otherEBS.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.Equal(t, "UnrecognizedClientException", codeOf(t, err))
}

func TestUnsignedAndForeignRequests(t *testing.T) {
	c := start(t, quiet(t))
	ask := func(method, path, auth string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, c.Info().Endpoint+path, strings.NewReader("Action=DescribeImages"))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, body.String()
	}
	auth := func(service string) string {
		return "AWS4-HMAC-SHA256 Credential=k/20260101/" + region + "/" + service + "/aws4_request, SignedHeaders=host;x-amz-date, Signature=" + strings.Repeat("0", 64)
	}
	status, body := ask("POST", "/", "")
	require.Equal(t, 403, status)
	require.Contains(t, body, "<Code>MissingAuthenticationToken</Code>")
	status, body = ask("POST", "/snapshots", "")
	require.Equal(t, 403, status)
	require.Contains(t, body, "MissingAuthenticationTokenException")
	status, body = ask("POST", "/", "Basic abc")
	require.Equal(t, 400, status)
	require.Contains(t, body, "IncompleteSignature")
	status, body = ask("POST", "/", auth("ec2-instance-connect"))
	require.Equal(t, 400, status)
	require.Contains(t, body, "UnsupportedOperation")
	status, body = ask("DELETE", "/snapshots/x", auth("ebs"))
	require.Equal(t, 404, status)
	require.Contains(t, body, "UnknownOperationException")
	status, body = ask("GET", "/", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, "local cloud")
}

func TestFaults(t *testing.T) {
	c := start(t, quiet(t))
	control := fault.NewClient(c.Info().ControlSocket)
	add := func(r fault.Rule) {
		t.Helper()
		_, err := control.Add(t.Context(), r)
		require.NoError(t, err)
	}
	snap := c.snapshot("", map[int32]byte{0: 1})
	register := func(name string) error { return second(c.ec2.RegisterImage(t.Context(), registration(name, snap))) }

	add(fault.Rule{Action: "RegisterImage", Kind: fault.LostReply, Times: 1})
	err := register("lost")
	var api smithy.APIError
	require.False(t, err == nil || errors.As(err, &api), "want a broken connection, got %v", err)
	require.Equal(t, "InvalidAMIName.Duplicate", codeOf(t, register("lost")), "the call was carried out")

	add(fault.Rule{Action: "RegisterImage", Kind: fault.Drop, Times: 1})
	require.Error(t, register("dropped"))
	require.NoError(t, register("dropped"), "the call was not carried out")

	add(fault.Rule{Action: "Put*", Service: "ebs", Kind: fault.Throttle, Nth: 2, Times: 1})
	add(fault.Rule{Action: "DescribeImages", Region: region, Kind: fault.Throttle, Times: 1})
	add(fault.Rule{Action: "DescribeSnapshots", Kind: fault.Error, Code: "InternalError", Status: 500, Times: 1})
	out, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.NoError(t, err)
	require.NoError(t, c.put(*out.SnapshotId, 0, 1))
	require.Equal(t, "RequestThrottledException", codeOf(t, c.put(*out.SnapshotId, 1, 1)))
	require.NoError(t, c.put(*out.SnapshotId, 1, 1))
	require.Equal(t, "RequestLimitExceeded", codeOf(t, second(c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{}))))
	require.Equal(t, "InternalError", codeOf(t, second(c.ec2.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{}))))

	add(fault.Rule{Action: "DescribeTags", Kind: fault.Delay, DelayMS: 80})
	before := time.Now()
	require.NoError(t, second(c.ec2.DescribeTags(t.Context(), &ec2.DescribeTagsInput{})))
	require.GreaterOrEqual(t, time.Since(before), 80*time.Millisecond)

	rules, err := control.List(t.Context())
	require.NoError(t, err)
	require.Len(t, rules, 6)
	require.Equal(t, 1, rules[2].Hit)
	calls, err := control.Calls(t.Context())
	require.NoError(t, err)
	require.Equal(t, 4, calls["ec2:RegisterImage"])
	require.NoError(t, control.Clear(t.Context(), rules[0].ID))
	require.ErrorContains(t, control.Clear(t.Context(), "99"), "no fault")
	require.NoError(t, control.Clear(t.Context(), ""))
	_, err = control.Add(t.Context(), fault.Rule{Action: "X", Kind: "explode"})
	require.ErrorContains(t, err, "kind")
}

func TestDeny(t *testing.T) {
	cfg := quiet(t)
	cfg.Deny = []string{"ec2:RegisterImage", "ebs:Start*"}
	c := start(t, cfg)
	_, err := c.ec2.RegisterImage(t.Context(), registration("no", "snap-00000000000000000"))
	require.Equal(t, "UnauthorizedOperation", codeOf(t, err))
	_, err = c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.Equal(t, "AccessDeniedException", codeOf(t, err))
	_, err = c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	require.NoError(t, err)
}

func TestConfigReportsAllMistakes(t *testing.T) {
	_, err := New(Config{Listen: "0.0.0.0:4566", AccessKey: "only", Account: "12", Regions: []string{"EU"}, CPUs: -1, Deny: []string{"["}})
	for _, want := range []string{"loopback", "state:", "secret-key", "12 digits", "eu-west-1", "cpus", "deny"} {
		require.ErrorContains(t, err, want)
	}
	for listen, ok := range map[string]bool{":4566": false, "10.0.0.1:1": false, "[::]:1": false, "[::1]:1": true, "localhost:1": true, "127.0.0.2:1": true, "4566": false} {
		require.Equal(t, ok, checkLoopback(listen) == nil, listen)
	}
}

func TestOneServerPerDirectory(t *testing.T) {
	cfg := quiet(t)
	start(t, cfg)
	_, err := New(cfg)
	require.ErrorContains(t, err, "in use")
}

func TestConnectionFaults(t *testing.T) {
	c := start(t, quiet(t))
	add := func(r fault.Rule) fault.Rule {
		t.Helper()
		r, err := c.Faults().Add(r)
		require.NoError(t, err)
		return r
	}
	describe := func(ctx context.Context) error {
		return second(c.ec2.DescribeRegions(ctx, &ec2.DescribeRegionsInput{}))
	}
	add(fault.Rule{Action: "DescribeRegions", Kind: fault.Reset, Times: 1})
	require.ErrorIs(t, describe(t.Context()), syscall.ECONNRESET)

	ctx, cancel := context.WithCancel(t.Context())
	add(fault.Rule{Action: "DescribeRegions", Kind: fault.Hang, Times: 1, OnHit: cancel})
	require.ErrorIs(t, describe(ctx), context.Canceled)

	before := time.Now()
	add(fault.Rule{Action: "DescribeRegions", Kind: fault.Hang, ForMS: 60})
	require.Error(t, describe(t.Context()))
	require.GreaterOrEqual(t, time.Since(before), 60*time.Millisecond)
	require.NoError(t, describe(t.Context()), "the fault is over")

	endless := add(fault.Rule{Action: "DescribeRegions", Kind: fault.Hang})
	time.AfterFunc(50*time.Millisecond, func() { c.Faults().Remove(endless.ID) })
	require.Error(t, describe(t.Context()))

	stopped := make(chan struct{})
	add(fault.Rule{Action: "DescribeRegions", Kind: fault.Hang, OnHit: func() {
		go func() {
			defer close(stopped)
			c.stop()
		}()
	}})
	before = time.Now()
	require.Error(t, describe(t.Context()))
	require.Less(t, time.Since(before), 2*time.Second, "the end of the server ends the call")
	<-stopped
}

func TestNewThingsAreUnseenForAWhile(t *testing.T) {
	c := start(t, quiet(t))
	old, _ := c.image("old")
	_, err := c.Faults().Add(fault.Rule{Action: "DescribeImages", Kind: fault.Unseen, Times: 2})
	require.NoError(t, err)
	_, err = c.Faults().Add(fault.Rule{Action: "PutSnapshotBlock", Kind: fault.Unseen, Times: 1})
	require.NoError(t, err)
	describe := func(id string) error {
		return second(c.ec2.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))
	}
	out, err := c.ebs.StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.NoError(t, err)
	require.Equal(t, "ResourceNotFoundException", codeOf(t, c.put(*out.SnapshotId, 0, 1)))
	require.NoError(t, c.put(*out.SnapshotId, 0, 1))
	require.NoError(t, second(c.ebs.CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: out.SnapshotId, ChangedBlocksCount: aws.Int32(1)})))
	made, err := c.ec2.RegisterImage(t.Context(), registration("new", *out.SnapshotId))
	require.NoError(t, err)
	require.NoError(t, describe(old))
	require.Equal(t, "InvalidAMIID.NotFound", codeOf(t, describe(*made.ImageId)))
	require.Equal(t, "InvalidAMIID.NotFound", codeOf(t, describe(*made.ImageId)))
	require.NoError(t, describe(*made.ImageId))
}
