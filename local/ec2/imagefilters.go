// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) imageFilters() attributes[store.Image] {
	type img = store.Image
	device := func(f func(store.BlockDevice) string) func(img) []string {
		return func(i img) (out []string) {
			for _, d := range i.BlockDevices {
				out = append(out, f(d))
			}
			return out
		}
	}
	return attributes[img]{
		tags: func(i img) map[string]string { return i.Tags },
		fields: map[string]func(img) []string{
			"image-id":                         only(func(i img) string { return i.ID }),
			"name":                             only(func(i img) string { return i.Name }),
			"description":                      only(func(i img) string { return i.Description }),
			"architecture":                     only(func(i img) string { return i.Architecture }),
			"boot-mode":                        only(func(i img) string { return i.BootMode }),
			"state":                            only(func(i img) string { return i.State }),
			"owner-id":                         only(func(img) string { return s.Account }),
			"creation-date":                    only(func(i img) string { return stamp(i.CreationDate) }),
			"ena-support":                      boolText(func(i img) bool { return i.EnaSupport }),
			"is-public":                        boolText(func(i img) bool { return i.Public() }),
			"hypervisor":                       only(func(img) string { return "xen" }),
			"image-type":                       only(func(img) string { return "machine" }),
			"root-device-name":                 only(func(i img) string { return i.RootDeviceName }),
			"root-device-type":                 only(func(img) string { return "ebs" }),
			"virtualization-type":              only(func(i img) string { return i.VirtualizationType }),
			"manifest-location":                only(func(i img) string { return s.Account + "/" + i.Name }),
			"tpm-support":                      only(func(i img) string { return i.TpmSupport }),
			"imds-support":                     only(func(i img) string { return i.ImdsSupport }),
			"sriov-net-support":                only(func(i img) string { return i.SriovNetSupport }),
			"source-image-id":                  only(func(i img) string { return i.SourceImageID }),
			"source-image-region":              only(func(i img) string { return i.SourceRegion }),
			"source-instance-id":               only(func(i img) string { return i.SourceInstanceID }),
			"block-device-mapping.encrypted":   device(func(d store.BlockDevice) string { return strconv.FormatBool(d.Encrypted) }),
			"owner-alias":                      func(img) []string { return nil },
			"platform":                         func(img) []string { return nil },
			"block-device-mapping.snapshot-id": device(func(d store.BlockDevice) string { return d.SnapshotID }),
			"block-device-mapping.device-name": device(func(d store.BlockDevice) string { return d.DeviceName }),
			"block-device-mapping.volume-type": device(func(d store.BlockDevice) string { return d.VolumeType }),
			"block-device-mapping.volume-size": device(func(d store.BlockDevice) string { return strconv.FormatInt(d.SizeGiB, 10) }),
			"block-device-mapping.delete-on-termination": device(func(d store.BlockDevice) string { return strconv.FormatBool(d.DeleteOnTermination) }),
		},
	}
}
