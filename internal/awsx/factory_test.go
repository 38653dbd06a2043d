// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// clean takes away everything that the SDK would read from the machine.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range os.Environ() {
		if name, _, _ = strings.Cut(name, "="); strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Setenv(name, "")
			require.NoError(t, os.Unsetenv(name))
		}
	}
	dir := t.TempDir()
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// service records requests and answers each with reply.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func serve(t *testing.T, status int, reply string) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.mu.Lock()
		s.requests, s.bodies = append(s.requests, r), append(s.bodies, r.Form.Get("Action"))
		s.mu.Unlock()
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, reply)
	}))
	t.Cleanup(s.Close)
	return s
}

const denied = `<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>`

func TestOneEndpointForAllServicesAndRegions(t *testing.T) {
	clean(t)
	wanted, other := serve(t, 403, denied), serve(t, 403, denied)
	t.Setenv("AWS_ENDPOINT_URL", other.URL)
	t.Setenv("AWS_ENDPOINT_URL_EC2", other.URL)
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush", EndpointURL: wanted.URL})
	require.NoError(t, err)
	for _, region := range []string{"us-east-1", "eu-west-1"} {
		_, err = f.EC2(region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
		require.Equal(t, awsx.Denied, awsx.Class(err))
		_, err = f.EBS(region).StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
		require.Equal(t, awsx.Denied, awsx.Class(err))
		_, err = f.STS(region).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		require.Error(t, err)
	}
	require.Len(t, wanted.requests, 6)
	require.Empty(t, other.requests)
	for i, r := range wanted.requests {
		region := []string{"us-east-1", "eu-west-1"}[i/3]
		require.Contains(t, r.Header.Get("Authorization"), "/"+region+"/")
		require.Contains(t, r.UserAgent(), "rightimage/")
	}
	require.Equal(t, wanted.URL, f.Endpoint("us-east-1"))
}

func TestEndpointFromTheEnvironment(t *testing.T) {
	clean(t)
	all, data := serve(t, 403, denied), serve(t, 403, denied)
	t.Setenv("AWS_ENDPOINT_URL", all.URL)
	t.Setenv("AWS_ENDPOINT_URL_EBS", data.URL)
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush"})
	require.NoError(t, err)
	_, _ = f.EC2("us-east-1").DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
	_, _ = f.EBS("us-east-1").StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.Len(t, all.requests, 1)
	require.Len(t, data.requests, 1)
	require.Equal(t, all.URL, f.Endpoint("us-east-1"))
}

func TestRetries(t *testing.T) {
	clean(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "7")
	s := serve(t, 503, "busy")
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush", EndpointURL: s.URL, MaxRetries: 1})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		call func() error
		want int
	}{
		"control plane": {func() error {
			_, err := f.EC2("us-east-1").DescribeImages(t.Context(), &ec2.DescribeImagesInput{})
			return err
		}, 2},
		"control plane once": {func() error {
			_, err := f.EC2("us-east-1").DescribeImages(t.Context(), &ec2.DescribeImagesInput{}, awsx.Once)
			return err
		}, 1},
		"data plane": {func() error {
			_, err := f.EBS("us-east-1").StartSnapshot(t.Context(), &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(s.requests)
			require.Equal(t, awsx.Network, awsx.Class(tc.call()))
			require.Equal(t, tc.want, len(s.requests)-before)
		})
	}
}

func TestNoCredentials(t *testing.T) {
	clean(t)
	_, err := awsx.New(t.Context(), awsx.Config{Region: "us-east-1"})
	require.ErrorIs(t, err, awsx.ErrNoCredentials)
	for _, word := range []string{"access_key", "secret_key", "profile", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		require.ErrorContains(t, err, word)
	}
	_, err = awsx.New(t.Context(), awsx.Config{Region: "us-east-1", Profile: "absent"})
	require.ErrorContains(t, err, "absent")
}

func TestAssumeRoleFails(t *testing.T) {
	clean(t)
	s := serve(t, 403, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
	_, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush", EndpointURL: s.URL,
		AssumeRole: awsx.AssumeRole{RoleARN: "arn:aws:iam::1:role/x"}})
	require.ErrorIs(t, err, awsx.ErrNoCredentials)
	require.ErrorContains(t, err, "assume_role.role_arn")
	require.NotContains(t, err.Error(), "hush")
	require.Equal(t, []string{"AssumeRole"}, s.bodies)
}

func TestContradictingSettings(t *testing.T) {
	clean(t)
	_, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", EndpointURL: "localhost:4566"})
	require.ErrorContains(t, err, "access_key and secret_key")
	require.ErrorContains(t, err, "endpoint_url")
}

func TestUnreachableEndpoint(t *testing.T) {
	clean(t)
	s := serve(t, 200, "")
	s.Close()
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush", EndpointURL: s.URL})
	require.NoError(t, err)
	start := time.Now()
	_, err = f.EC2("us-east-1").DescribeImages(t.Context(), &ec2.DescribeImagesInput{}, awsx.Quick)
	require.Less(t, time.Since(start), 10*time.Second)
	err = f.Explain("describe images", "us-east-1", err)
	require.Equal(t, awsx.Network, awsx.Class(err))
	require.ErrorContains(t, err, s.URL)
	require.ErrorContains(t, err, "endpoint_url")
	require.NoError(t, f.Explain("x", "y", nil))
}

func TestCommand(t *testing.T) {
	clean(t)
	f, err := awsx.New(t.Context(), awsx.Config{AccessKey: "AKIA", SecretKey: "hush", EndpointURL: "http://127.0.0.1:1"})
	require.NoError(t, err)
	require.Equal(t, `aws ec2 delete-key-pair --region us-east-1 --key-name 'it'\''s a key' --endpoint-url http://127.0.0.1:1`,
		f.Command("ec2", "us-east-1", "delete-key-pair", "--key-name", "it's a key"))
}
