// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// shown is how many of several candidates an error names.
const shown = 5

// findSource finds the one image that the template means.
func (s *site) findSource(ctx context.Context, images imageFinder, parameters parameterReader, c SourceConfig) (types.Image, error) {
	switch {
	case c.SourceAMI != "":
		return s.imageByID(ctx, images, c.SourceAMI)
	case c.SourceAMISSMParameter != "":
		id, err := s.parameter(ctx, parameters, c.SourceAMISSMParameter)
		if err != nil {
			return types.Image{}, err
		}
		s.say("%s holds %s", c.SourceAMISSMParameter, id)
		return s.imageByID(ctx, images, id)
	default:
		return s.imageByFilter(ctx, images, c.SourceAMIFilter)
	}
}

func (s *site) imageByID(ctx context.Context, api imageFinder, id string) (types.Image, error) {
	out, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{
		ImageIds: []string{id}, IncludeDeprecated: aws.Bool(true), IncludeDisabled: aws.Bool(true),
	}, awsx.Quick)
	if err != nil {
		return types.Image{}, s.fail("look up source AMI "+id, err)
	}
	if len(out.Images) == 0 {
		return types.Image{}, fmt.Errorf("source_ami: %s is not there in %s, or not for this account: image ids differ from region to region", id, s.region)
	}
	return out.Images[0], nil
}

// parameter reads an image id from Parameter Store. Some public parameters hold
// JSON with the id inside.
func (s *site) parameter(ctx context.Context, api parameterReader, name string) (string, error) {
	out, err := api.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name)})
	if err != nil {
		return "", s.fail("read source_ami_ssm_parameter "+name, err)
	}
	var value string
	if out.Parameter != nil {
		value = strings.TrimSpace(aws.ToString(out.Parameter.Value))
	}
	var record struct {
		ImageID string `json:"image_id"`
	}
	if json.Unmarshal([]byte(value), &record) == nil && record.ImageID != "" {
		value = record.ImageID
	}
	if !strings.HasPrefix(value, "ami-") {
		return "", fmt.Errorf("source_ami_ssm_parameter: %s holds %q, which is no image id", name, clip(value, 60))
	}
	return value, nil
}

func (s *site) imageByFilter(ctx context.Context, api imageFinder, f AMIFilter) (types.Image, error) {
	in := &ec2.DescribeImagesInput{Owners: f.Owners, Filters: filters(f.Filters, filter("state", "available"))}
	if f.IncludeDeprecated {
		in.IncludeDeprecated = aws.Bool(true)
	}
	var found []types.Image
	for {
		out, err := api.DescribeImages(ctx, in, awsx.Quick)
		if err != nil {
			return types.Image{}, s.fail("look for the source AMI", err)
		}
		found = append(found, out.Images...)
		if aws.ToString(out.NextToken) == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	// The newest first. Dates are RFC 3339 in UTC, so that their order is that of
	// their letters.
	slices.SortStableFunc(found, func(a, b types.Image) int {
		return strings.Compare(aws.ToString(b.CreationDate), aws.ToString(a.CreationDate))
	})
	switch {
	case len(found) == 0:
		return types.Image{}, fmt.Errorf("source_ami_filter: no available image of %s matches in %s%s", strings.Join(f.Owners, ", "), s.region,
			map[bool]string{false: ": check the filters and owners, or set include_deprecated = true", true: ": check the filters and owners"}[f.IncludeDeprecated])
	case len(found) > 1 && !f.MostRecent:
		return types.Image{}, fmt.Errorf("source_ami_filter: %d images match in %s (%s): narrow the filters, or set most_recent = true", len(found), s.region, list(found))
	}
	return found[0], nil
}

// list names some images.
func list(images []types.Image) string {
	var names []string
	for _, i := range images[:min(len(images), shown)] {
		names = append(names, aws.ToString(i.ImageId)+" "+aws.ToString(i.Name))
	}
	if len(images) > shown {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// filters turns the template's filters into those of a call. A comma separates
// values. A given filter wins over the same one of ours.
func filters(given map[string]string, ours ...types.Filter) []types.Filter {
	var out []types.Filter
	for _, k := range sortedKeys(given) {
		var values []string
		for v := range strings.SplitSeq(given[k], ",") {
			values = append(values, strings.TrimSpace(v))
		}
		out = append(out, filter(k, values...))
	}
	for _, f := range ours {
		if _, there := given[aws.ToString(f.Name)]; !there {
			out = append(out, f)
		}
	}
	return out
}

// checkSource finds what makes an image unfit to build from.
func checkSource(image types.Image) error {
	id := aws.ToString(image.ImageId)
	var errs []error
	if image.State != types.ImageStateAvailable {
		errs = append(errs, fmt.Errorf("source AMI %s is %s, not available", id, cmp.Or(string(image.State), "in no state")))
	}
	if image.RootDeviceType != types.DeviceTypeEbs {
		errs = append(errs, fmt.Errorf("source AMI %s has a root device of type %q: only those on EBS can be stopped and made into an image", id, image.RootDeviceType))
	}
	if image.Platform == types.PlatformValuesWindows {
		errs = append(errs, fmt.Errorf("source AMI %s is Windows, which this builder does not build", id))
	}
	return errors.Join(errs...)
}

// checkTypes finds instance types that cannot run the image.
func (s *site) checkTypes(ctx context.Context, api typeReader, image types.Image, names []string) error {
	in := &ec2.DescribeInstanceTypesInput{}
	for _, name := range names {
		in.InstanceTypes = append(in.InstanceTypes, types.InstanceType(name))
	}
	out, err := api.DescribeInstanceTypes(ctx, in)
	if err != nil {
		return s.fail("look up instance types "+strings.Join(names, ", "), err)
	}
	var errs []error
	for _, t := range out.InstanceTypes {
		errs = append(errs, checkType(t, image))
	}
	return errors.Join(errs...)
}

func checkType(t types.InstanceTypeInfo, image types.Image) error {
	var why []string
	arch := types.ArchitectureType(image.Architecture)
	if p := t.ProcessorInfo; p != nil && len(p.SupportedArchitectures) > 0 && !slices.Contains(p.SupportedArchitectures, arch) {
		why = append(why, fmt.Sprintf("it runs %v, and the image is for %s", p.SupportedArchitectures, arch))
	}
	if n := t.NetworkInfo; n != nil && n.EnaSupport == types.EnaSupportRequired && !aws.ToBool(image.EnaSupport) {
		why = append(why, "it needs an image with ENA, and the image has none")
	}
	mode := types.BootModeType(image.BootMode)
	if mode == "uefi-preferred" {
		mode = ""
	}
	if mode != "" && len(t.SupportedBootModes) > 0 && !slices.Contains(t.SupportedBootModes, mode) {
		why = append(why, fmt.Sprintf("it boots %v, and the image needs %s", t.SupportedBootModes, mode))
	}
	kind := image.VirtualizationType
	if len(t.SupportedVirtualizationTypes) > 0 && kind != "" && !slices.Contains(t.SupportedVirtualizationTypes, kind) {
		why = append(why, fmt.Sprintf("it has no %s, which the image needs", kind))
	}
	if len(why) == 0 {
		return nil
	}
	return fmt.Errorf("instance type %s cannot run source AMI %s: %s: choose another type", t.InstanceType, aws.ToString(image.ImageId), strings.Join(why, "; "))
}

// sourceData is what provisioners and templates learn about the source.
func sourceData(region string, image types.Image) map[string]any {
	tags := map[string]string{}
	for _, t := range image.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return map[string]any{
		"BuildRegion":           region,
		"SourceAMI":             aws.ToString(image.ImageId),
		"SourceAMIName":         aws.ToString(image.Name),
		"SourceAMIOwner":        aws.ToString(image.OwnerId),
		"SourceAMICreationDate": aws.ToString(image.CreationDate),
		"SourceAMITags":         tags,
	}
}

// generated are the names of the variables that provisioners get.
func generated() []string {
	return []string{"BuildRegion", "InstanceID", "SourceAMI", "SourceAMICreationDate", "SourceAMIName", "SourceAMIOwner", "SourceAMITags"}
}

// forProvisioners makes build data fit Packer's variables, which hold no maps:
// tags are JSON.
func forProvisioners(data map[string]any) map[string]any {
	out := maps.Clone(data)
	text, err := json.Marshal(data["SourceAMITags"])
	if err == nil { // a map of strings always encodes
		out["SourceAMITags"] = string(text)
	}
	return out
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
