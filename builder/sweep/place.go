// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// place is one region, or IAM, during a search.
type place struct {
	*Sweeper
	api    regionAPI
	region string
	now    time.Time
	// ending are the instances and images that count as leftovers: what only
	// they use does as well.
	ending map[string]bool
}

// where names the place in messages.
func (p *place) where() string {
	if p.region == "" {
		return "IAM"
	}
	return p.region
}

// reason is an error without what differs from call to call, so that the same
// problem of many regions is told once.
func (p *place) reason(err error) string {
	text := err.Error()
	var api smithy.APIError
	if errors.As(err, &api) {
		text = api.ErrorCode() + ": " + api.ErrorMessage()
	}
	var explained *awsx.Error
	if errors.As(p.explain("", p.region, err), &explained) && explained.Hint != "" {
		text += " (" + explained.Hint + ")"
	}
	return text
}

// leftover is one thing of a region. remedy is the command's verb and arguments.
func (p *place) leftover(kind, id string, tags map[string]string, made *time.Time, remedy ...string) *Leftover {
	l := &Leftover{Kind: kind, ID: id, Region: p.region, Created: born(tags, made), Action: "delete"}
	if build := tags[tagTemporary]; build != "" {
		l.Why = "temporary, of build " + build
	}
	service := "ec2"
	if p.region == "" {
		service = "iam"
	}
	l.Remedy = p.command(service, p.region, remedy[0], remedy[1:]...)
	return l
}

// remember notes a thing that others belong to, when it counts as a leftover.
func (p *place) remember(l *Leftover) {
	if p.ending == nil {
		p.ending = map[string]bool{}
	}
	p.ending[l.ID] = p.counts(l)
}

// counts reports whether a thing is old enough.
func (p *place) counts(l *Leftover) bool {
	return !l.Created.IsZero() && p.now.Sub(l.Created) >= p.OlderThan
}

// born returns when a thing was made: as its tag and the service say, and the
// later one of these to be on the safe side.
func born(tags map[string]string, made *time.Time) time.Time {
	told, err := time.Parse(time.RFC3339, tags[tagCreated])
	switch {
	case err != nil && made == nil:
		return time.Time{}
	case err != nil:
		return made.UTC()
	case made == nil || told.After(*made):
		return told.UTC()
	default:
		return made.UTC()
	}
}

func tagMap(tags []types.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

func iamTagMap(tags []iamtypes.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return m
}

// withTag finds things that have one of the tags, whatever its value.
func withTag(keys ...string) types.Filter {
	return types.Filter{Name: aws.String("tag-key"), Values: keys}
}

// Regions returns the regions that are enabled for the account.
func Regions(ctx context.Context, api regionLister) ([]string, error) {
	out, err := api.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range out.Regions {
		names = append(names, aws.ToString(r.RegionName))
	}
	return names, nil
}
