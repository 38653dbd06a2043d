// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// instanceFilters is what instances can be filtered by.
func (s *Service) instanceFilters() attributes[store.Instance] {
	type inst = store.Instance
	volume := func(f func(store.BlockDevice) string) func(inst) []string {
		return func(i inst) (out []string) {
			for _, d := range i.BlockDevices {
				out = append(out, f(d))
			}
			return out
		}
	}
	groups := func(f func(store.Group) string) func(inst) []string {
		return func(i inst) (out []string) {
			for _, g := range i.Groups {
				out = append(out, f(g))
			}
			return out
		}
	}
	return attributes[inst]{
		tags: func(i inst) map[string]string { return i.Tags },
		fields: map[string]func(inst) []string{
			"instance-id":                            only(func(i inst) string { return i.ID }),
			"instance-state-name":                    only(func(i inst) string { return i.State }),
			"instance-state-code":                    only(func(i inst) string { return strconv.Itoa(stateOf(i.State).Code) }),
			"instance-type":                          only(func(i inst) string { return i.InstanceType }),
			"image-id":                               only(func(i inst) string { return i.ImageID }),
			"architecture":                           only(func(i inst) string { return i.Image.Architecture }),
			"availability-zone":                      only(func(i inst) string { return i.Zone }),
			"boot-mode":                              only(func(i inst) string { return i.Image.BootMode }),
			"client-token":                           only(func(i inst) string { return i.ClientToken }),
			"key-name":                               only(func(i inst) string { return i.KeyName }),
			"launch-time":                            only(func(i inst) string { return stamp(i.LaunchTime) }),
			"owner-id":                               only(func(inst) string { return s.Account }),
			"private-ip-address":                     only(func(i inst) string { return i.PrivateIP }),
			"ip-address":                             only(func(i inst) string { return i.PublicIP }),
			"private-dns-name":                       only(privateName),
			"dns-name":                               only(publicName),
			"vpc-id":                                 only(func(i inst) string { return i.VPCID }),
			"instance.group-id":                      groups(func(g store.Group) string { return g.ID }),
			"instance.group-name":                    groups(func(g store.Group) string { return g.Name }),
			"network-interface.network-interface-id": only(interfaceID),
			"spot-instance-request-id":               only(func(i inst) string { return i.SpotRequestID }),
			"instance-lifecycle": func(i inst) []string {
				if i.SpotRequestID == "" {
					return nil
				}
				return []string{"spot"}
			},
			"iam-instance-profile.arn":         only(func(i inst) string { return i.Profile.ARN }),
			"iam-instance-profile.id":          only(func(i inst) string { return i.Profile.ID }),
			"reason":                           only(func(i inst) string { return i.Transition }),
			"reservation-id":                   only(func(i inst) string { return i.ReservationID }),
			"root-device-name":                 only(func(i inst) string { return i.Image.RootDeviceName }),
			"root-device-type":                 only(func(inst) string { return "ebs" }),
			"state-reason-code":                only(func(i inst) string { return i.StateCode }),
			"subnet-id":                        only(func(i inst) string { return i.SubnetID }),
			"virtualization-type":              only(func(i inst) string { return i.Image.VirtualizationType }),
			"block-device-mapping.volume-id":   volume(func(d store.BlockDevice) string { return d.VolumeID }),
			"block-device-mapping.device-name": volume(func(d store.BlockDevice) string { return d.DeviceName }),
			"metadata-options.http-tokens":     only(func(i inst) string { return i.Metadata.HTTPTokens }),
		},
	}
}
