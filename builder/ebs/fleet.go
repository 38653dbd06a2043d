// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// launchSpot starts a spot machine through an instant fleet over a temporary
// launch template, and returns its id.
func (s *site) launchSpot(ctx context.Context, api control, m machine) (string, error) {
	template, err := s.makeTemplate(ctx, api, m)
	if err != nil {
		return "", err
	}
	s.oweVolumes(api)
	// The fleet's own reply names the machine, but the machine is found by its tag
	// as well: a fleet may end without having told.
	var machines []string
	var failures []types.CreateFleetError
	_, err = s.make(ctx, s.fleetThing(api), func(ctx context.Context) (string, error) {
		var out *ec2.CreateFleetOutput
		err := s.patiently(ctx, "launch template "+template+" to be known", func(ctx context.Context) (err error) {
			out, err = api.CreateFleet(ctx, m.fleet(template, s.tagged(types.ResourceTypeFleet, nil)))
			return err
		})
		if err != nil {
			return "", err
		}
		for _, i := range out.Instances {
			machines = append(machines, i.InstanceIds...)
		}
		failures = out.Errors
		return aws.ToString(out.FleetId), nil
	})
	for _, id := range machines {
		s.owe(s.instanceThing(api), id)
	}
	if err != nil {
		return "", err
	}
	if len(machines) == 0 {
		return "", noSpot(m, failures)
	}
	return machines[0], nil
}

// noSpot says why a fleet has no machine, each reason once.
func noSpot(m machine, failures []types.CreateFleetError) error {
	var why []string
	for _, f := range failures {
		text := fmt.Sprintf("%s: %s", aws.ToString(f.ErrorCode), aws.ToString(f.ErrorMessage))
		if !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	if len(why) == 0 {
		why = []string{"EC2 gives no reason"}
	}
	return fmt.Errorf("no spot machine of type %s was to be had: %s: give more spot_instance_types, raise spot_price, or leave both out",
		strings.Join(m.types, ", "), strings.Join(why, "; "))
}

func (s *site) makeTemplate(ctx context.Context, api launchTemplates, m machine) (string, error) {
	t := thing{
		kind: "launch template",
		find: s.command("ec2", "describe-launch-templates", "--filters", s.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			out, err := api.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{Filters: s.mine()}, awsx.Once)
			if err != nil {
				return nil, err
			}
			var ids []string
			for _, lt := range out.LaunchTemplates {
				ids = append(ids, aws.ToString(lt.LaunchTemplateId))
			}
			return ids, nil
		},
		remove: func(ctx context.Context, id string) error {
			_, err := api.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: aws.String(id)}, awsx.Once)
			return err
		},
		remedy: func(id string) string { return s.command("ec2", "delete-launch-template", "--launch-template-id", id) },
	}
	return s.make(ctx, t, func(ctx context.Context) (string, error) {
		out, err := api.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String(s.name()), LaunchTemplateData: m.template(), ClientToken: text(m.token),
			TagSpecifications: []types.TagSpecification{s.tagged(types.ResourceTypeLaunchTemplate, nil)},
		})
		if err == nil && out.LaunchTemplate != nil {
			return aws.ToString(out.LaunchTemplate.LaunchTemplateId), nil
		}
		if err == nil {
			return "", errors.New("EC2 names no launch template")
		}
		if awsx.Class(err) == awsx.Conflict { // the name has our id in it: an earlier try of this call
			if ids, lookErr := t.lookup(ctx); lookErr == nil && len(ids) == 1 {
				return ids[0], nil
			}
		}
		return "", err
	})
}

// fleetThing is the undo of a fleet. Its machines go with it: EC2 allows
// nothing else for instant fleets.
func (s *site) fleetThing(api control) thing {
	return thing{
		kind: "fleet",
		find: s.command("ec2", "describe-fleets", "--filters", s.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			// Instant fleets are not listed by tag. Their machines are.
			found, err := describe(ctx, api, &ec2.DescribeInstancesInput{Filters: s.mine()})
			if err != nil {
				return nil, err
			}
			var fleets []string
			for _, i := range found {
				if id := tagOf(i.Tags, "aws:ec2:fleet-id"); id != "" && !slices.Contains(fleets, id) {
					fleets = append(fleets, id)
				}
				if err := terminate(ctx, api, aws.ToString(i.InstanceId)); err != nil {
					return nil, err
				}
			}
			return fleets, nil
		},
		remove: func(ctx context.Context, id string) error {
			out, err := api.DeleteFleets(ctx, &ec2.DeleteFleetsInput{FleetIds: []string{id}, TerminateInstances: aws.Bool(true)}, awsx.Once)
			if err != nil {
				return err
			}
			for _, f := range out.UnsuccessfulFleetDeletions {
				if f.Error != nil && f.Error.Code != types.DeleteFleetErrorCodeFleetIdDoesNotExist {
					return busy(fmt.Errorf("%s: %s", f.Error.Code, aws.ToString(f.Error.Message)))
				}
			}
			return nil
		},
		remedy: func(id string) string {
			return s.command("ec2", "delete-fleets", "--fleet-ids", id, "--terminate-instances")
		},
	}
}
