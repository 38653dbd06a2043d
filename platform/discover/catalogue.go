// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package discover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// catalogue lists what a launch can name. What the credentials may not list
// stays as it is and does not keep the rest from being listed.
func (s *Service) catalogue(ctx context.Context, cloud store.Cloud, f fence) error {
	client, err := s.Clients.EC2(ctx, cloud)
	if err != nil {
		return err
	}
	errs := []error{s.images(ctx, cloud, client, f)}
	for kind, list := range map[string]func(context.Context, *ec2.Client) ([]store.CloudResource, error){
		store.KindDatacenter: s.datacenters, store.KindInstanceType: s.instanceTypes, store.KindSubnet: s.subnets,
		store.KindSecurityGroup: s.groups, store.KindSSHKey: s.sshKeys,
	} {
		found, err := list(ctx, client)
		if err == nil {
			err = s.resources(ctx, cloud, kind, found, f)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("list %ss: %w", strings.ReplaceAll(kind, "_", " "), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		return errors.Join(f(ctx, q), q.SetCatalogued(ctx, cloud.ID, s.Fleet.Now()))
	})
}

// images lists the account's own images, and those of others that its instances,
// servers and MultiCloudImages use. All public ones would be a hundred thousand.
func (s *Service) images(ctx context.Context, cloud store.Cloud, client *ec2.Client, f fence) error {
	found := map[string]store.Image{}
	if err := s.describeImages(ctx, client, &ec2.DescribeImagesInput{Owners: []string{"self"}}, found); err != nil {
		return err
	}
	used, err := s.Fleet.DB.ImagesInUse(ctx, cloud.ID)
	if err != nil {
		return err
	}
	used = slices.DeleteFunc(used, func(id string) bool { _, have := found[id]; return have || !strings.HasPrefix(id, "ami-") })
	for part := range slices.Chunk(used, batch) {
		in := &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: aws.String("image-id"), Values: part}}}
		if err := s.describeImages(ctx, client, in, found); err != nil {
			return err
		}
	}
	known, err := s.Fleet.DB.Images(ctx, cloud.ID, true)
	if err != nil {
		return err
	}
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		if err := f(ctx, q); err != nil {
			return err
		}
		for _, k := range known {
			image, ok := found[k.ResourceUID]
			switch {
			case !ok && k.GoneAt.IsZero():
				err = q.SetImageGone(ctx, k.ID, s.Fleet.Now())
			case ok && sameImage(k, image):
				delete(found, k.ResourceUID)
			}
			if err != nil {
				return err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(found)) {
			image := found[id]
			image.CloudID, image.UID = cloud.ID, fleet.NewUID()
			if err := q.PutImage(ctx, image, s.Fleet.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

func sameImage(a, b store.Image) bool {
	b.ID, b.CloudID, b.UID, b.CreatedAt, b.UpdatedAt, b.GoneAt = a.ID, a.CloudID, a.UID, a.CreatedAt, a.UpdatedAt, a.GoneAt
	return a == b && a.GoneAt.IsZero()
}

func (s *Service) describeImages(ctx context.Context, client *ec2.Client, in *ec2.DescribeImagesInput, found map[string]store.Image) error {
	for {
		var out *ec2.DescribeImagesOutput
		_, err := s.patiently(ctx, func() (err error) {
			out, err = client.DescribeImages(ctx, in, awsx.Once)
			return err
		})
		if err != nil {
			return fmt.Errorf("list images: %w", err)
		}
		for _, i := range out.Images {
			found[uid(i.ImageId)] = imageOf(i)
		}
		if in.NextToken = out.NextToken; uid(in.NextToken) == "" {
			return nil
		}
	}
}

// imageOf is an image in the words of API 1.5.
func imageOf(i types.Image) store.Image {
	image := store.Image{ResourceUID: uid(i.ImageId), Name: uid(i.Name), Description: uid(i.Description), OSPlatform: "linux",
		CPUArchitecture: string(i.Architecture), Visibility: "private", VirtualizationType: string(i.VirtualizationType), ImageType: "machine"}
	if i.Platform == types.PlatformValuesWindows {
		image.OSPlatform = "windows"
	}
	if aws.ToBool(i.Public) {
		image.Visibility = "public"
	}
	if i.ImageType != "" {
		image.ImageType = string(i.ImageType)
	}
	return image
}

// resources writes what differs between the found resources of a kind and the
// known ones.
func (s *Service) resources(ctx context.Context, cloud store.Cloud, kind string, found []store.CloudResource, f fence) error {
	known, err := s.Fleet.DB.CloudResources(ctx, cloud.ID, kind, true)
	if err != nil {
		return err
	}
	byID := map[string]store.CloudResource{}
	for _, r := range found {
		r.CloudID, r.Kind, r.UID = cloud.ID, kind, fleet.NewUID()
		if r.Attributes == nil {
			r.Attributes = map[string]string{}
		}
		byID[r.ResourceUID] = r
	}
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		if err := f(ctx, q); err != nil {
			return err
		}
		for _, k := range known {
			r, ok := byID[k.ResourceUID]
			switch {
			case !ok && k.GoneAt.IsZero():
				err = q.SetCloudResourceGone(ctx, k.ID, s.Fleet.Now())
			case ok && k.GoneAt.IsZero() && k.Name == r.Name && maps.Equal(k.Attributes, r.Attributes):
				delete(byID, k.ResourceUID)
			}
			if err != nil {
				return err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			if err := q.PutCloudResource(ctx, byID[id], s.Fleet.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}
