// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package chain

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Region is the region that the chain works in.
const Region = "us-east-1"

// Cloud is a running local cloud.
type Cloud struct {
	env      *Env
	State    string
	Endpoint string
	EC2      *ec2.Client
	proc     *Process
}

// cloudState is the local cloud's state directory.
func (e *Env) cloudState() string { return filepath.Join(e.Work, "cloud") }

// StartCloud starts "rightimage local" on a free port; guests reach the
// platform at platformAddr when it is not empty.
func (e *Env) StartCloud(ctx context.Context, platformAddr string, flags ...string) (*Cloud, error) {
	c := &Cloud{env: e, State: e.cloudState()}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	c.Endpoint = "http://" + addr
	args := []string{"local", "--listen", addr, "--state", c.State}
	if platformAddr != "" {
		args = append(args, "--forward", GuestPlatform+":443="+platformAddr)
	}
	if c.proc, err = e.Start(ctx, "local-cloud", nil, e.Bin("rightimage"), append(args, flags...)...); err != nil {
		return nil, err
	}
	c.EC2 = ec2.New(ec2.Options{
		Region: Region, BaseEndpoint: aws.String(c.Endpoint), RetryMaxAttempts: 2,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return c, Until(ctx, 100*time.Millisecond, "the local cloud answers", func(ctx context.Context) (bool, error) {
		select {
		case <-c.proc.Done():
			return false, fmt.Errorf("rightimage local ended at once:\n%s", tail(filepath.Join(e.Logs, "local-cloud.log"), 10))
		default:
		}
		_, err := c.EC2.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
		return err == nil, nil
	})
}

// Env is the environment that points AWS tools at the local cloud.
func (c *Cloud) Env() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + c.Endpoint, "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_EC2_METADATA_DISABLED=true",
	}
}

// Launch starts one instance with the user-data and a name tag.
func (c *Cloud) Launch(ctx context.Context, name, image, userData string) (string, error) {
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(image), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		InstanceType: types.InstanceTypeT3Small,
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeInstance,
			Tags:         []types.Tag{{Key: aws.String("Name"), Value: aws.String(name)}},
		}},
	}
	if userData != "" {
		in.UserData = aws.String(base64.StdEncoding.EncodeToString([]byte(userData)))
	}
	out, err := c.EC2.RunInstances(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Instances[0].InstanceId), nil
}

// InstanceState returns the state's name, such as "running".
func (c *Cloud) InstanceState(ctx context.Context, id string) (string, error) {
	out, err := c.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return "", err
	}
	return string(out.Reservations[0].Instances[0].State.Name), nil
}

// Terminate terminates the instance and waits until it is gone.
func (c *Cloud) Terminate(ctx context.Context, id string) error {
	if _, err := c.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		return err
	}
	return Until(ctx, time.Second, "instance "+id+" is terminated", func(ctx context.Context) (bool, error) {
		state, err := c.InstanceState(ctx, id)
		return state == string(types.InstanceStateNameTerminated), err
	})
}

// Console returns what the instance has printed on its serial console.
func (c *Cloud) Console(ctx context.Context, id string) (string, error) {
	out, err := c.EC2.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(id)})
	if err != nil {
		return "", err
	}
	data, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	return string(data), err
}

// KeepConsole copies an instance's console and metadata request log into the
// run's log folder, for the summary and for a post-mortem.
func (c *Cloud) KeepConsole(id, name string) error {
	for _, file := range []string{"console.log", "imds.log"} {
		data, err := os.ReadFile(filepath.Join(c.State, "instances", id, file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.env.Logs, name+"-"+file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
