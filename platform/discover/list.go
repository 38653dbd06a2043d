// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// pageSize is the largest that EC2 gives.
const pageSize = 1000

// instances lists all machines of a region. A listing that is cut off in the
// middle says nothing about what has vanished, so that a page is asked for
// again rather than given up.
func (s *Service) instances(ctx context.Context, client *ec2.Client) (all []types.Instance, throttled int, err error) {
	var token *string
	for {
		var out *ec2.DescribeInstancesOutput
		n, err := s.patiently(ctx, func() (err error) {
			out, err = client.DescribeInstances(ctx, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(pageSize), NextToken: token}, awsx.Once)
			return err
		})
		throttled += n
		if err != nil {
			return nil, throttled, fmt.Errorf("list instances: %w", err)
		}
		for _, r := range out.Reservations {
			all = append(all, r.Instances...)
		}
		if token = out.NextToken; aws.ToString(token) == "" {
			return all, throttled, nil
		}
	}
}

const (
	tries     = 6
	firstWait = 2 * time.Second
	maxWait   = 30 * time.Second
)

// patiently repeats a call while it is throttled or not answered, and tells how
// often it was throttled.
func (s *Service) patiently(ctx context.Context, call func() error) (throttled int, err error) {
	wait := firstWait
	for try := 1; ; try++ {
		if err = call(); err == nil {
			return throttled, nil
		}
		class := awsx.Class(err)
		if class == awsx.Throttled {
			throttled++
		} else if class != awsx.Network {
			return throttled, err
		}
		if try == tries || ctx.Err() != nil {
			return throttled, err
		}
		pause := max(wait, min(awsx.RetryAfter(err), maxWait))
		if s.Patience > 0 {
			pause = time.Duration(float64(pause) * s.Patience)
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return throttled, err
		case <-timer.C:
		}
		wait = min(2*wait, maxWait)
	}
}
