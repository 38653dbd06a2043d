// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

func (s *Service) imageActions() map[string]handler {
	return map[string]handler{
		"RegisterImage":                        s.registerImage,
		"CopyImage":                            s.copyImage,
		"DescribeImages":                       s.describeImages,
		"DeregisterImage":                      s.deregisterImage,
		"ModifyImageAttribute":                 s.modifyImageAttribute,
		"DescribeImageAttribute":               s.describeImageAttribute,
		"ResetImageAttribute":                  s.resetImageAttribute,
		"EnableImageDeprecation":               s.enableDeprecation,
		"DisableImageDeprecation":              s.disableDeprecation,
		"EnableImageDeregistrationProtection":  s.enableProtection,
		"DisableImageDeregistrationProtection": s.disableProtection,
		"EnableImage":                          s.enableImage,
		"DisableImage":                         s.disableImage,
	}
}

type describeImagesReply struct {
	meta
	Images    set[imageItem] `xml:"imagesSet"`
	NextToken string         `xml:"nextToken,omitempty"`
}

type imageItem struct {
	ImageID             string          `xml:"imageId"`
	ImageLocation       string          `xml:"imageLocation"`
	State               string          `xml:"imageState"`
	OwnerID             string          `xml:"imageOwnerId"`
	CreationDate        string          `xml:"creationDate"`
	Public              bool            `xml:"isPublic"`
	Architecture        string          `xml:"architecture"`
	ImageType           string          `xml:"imageType"`
	PlatformDetails     string          `xml:"platformDetails"`
	UsageOperation      string          `xml:"usageOperation"`
	Name                string          `xml:"name"`
	Description         string          `xml:"description,omitempty"`
	RootDeviceType      string          `xml:"rootDeviceType"`
	RootDeviceName      string          `xml:"rootDeviceName"`
	BlockDeviceMappings set[deviceItem] `xml:"blockDeviceMapping"`
	VirtualizationType  string          `xml:"virtualizationType"`
	Hypervisor          string          `xml:"hypervisor"`
	EnaSupport          bool            `xml:"enaSupport,omitempty"`
	SriovNetSupport     string          `xml:"sriovNetSupport,omitempty"`
	BootMode            string          `xml:"bootMode,omitempty"`
	TpmSupport          string          `xml:"tpmSupport,omitempty"`
	ImdsSupport         string          `xml:"imdsSupport,omitempty"`
	StateReason         *reason         `xml:"stateReason"`
	DeprecationTime     string          `xml:"deprecationTime,omitempty"`
	Protection          string          `xml:"deregistrationProtection"`
	SourceInstanceID    string          `xml:"sourceInstanceId,omitempty"`
	SourceImageID       string          `xml:"sourceImageId,omitempty"`
	SourceImageRegion   string          `xml:"sourceImageRegion,omitempty"`
	Tags                set[tagItem]    `xml:"tagSet"`
}

type deviceItem struct {
	DeviceName  string   `xml:"deviceName"`
	VirtualName string   `xml:"virtualName,omitempty"`
	NoDevice    *string  `xml:"noDevice"`
	Ebs         *ebsItem `xml:"ebs"`
}

type ebsItem struct {
	SnapshotID          string `xml:"snapshotId,omitempty"`
	VolumeSize          int64  `xml:"volumeSize"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
	VolumeType          string `xml:"volumeType"`
	Iops                int64  `xml:"iops,omitempty"`
	Throughput          int64  `xml:"throughput,omitempty"`
	Encrypted           bool   `xml:"encrypted"`
}

func (s *Service) imageItem(img store.Image) imageItem {
	item := imageItem{
		ImageID: img.ID, ImageLocation: s.Account + "/" + img.Name, State: img.State, OwnerID: s.Account, Public: img.Public(),
		CreationDate: stamp(img.CreationDate), Architecture: img.Architecture, ImageType: "machine",
		PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances", Name: img.Name, Description: img.Description,
		RootDeviceType: "ebs", RootDeviceName: img.RootDeviceName, VirtualizationType: img.VirtualizationType,
		Hypervisor: "xen", EnaSupport: img.EnaSupport, SriovNetSupport: img.SriovNetSupport, BootMode: img.BootMode,
		TpmSupport: img.TpmSupport, ImdsSupport: img.ImdsSupport, Tags: tagSet(img.Tags),
		Protection: protection(img), SourceInstanceID: img.SourceInstanceID, SourceImageID: img.SourceImageID, SourceImageRegion: img.SourceRegion,
	}
	if img.StateMessage != "" {
		item.StateReason = &reason{"Client.InvalidParameter", img.StateMessage}
	}
	if at := img.Deprecation(); !at.IsZero() {
		item.DeprecationTime = stamp(at)
	}
	for _, d := range img.BlockDevices {
		dev := deviceItem{DeviceName: d.DeviceName, VirtualName: d.VirtualName}
		switch {
		case d.NoDevice:
			dev.NoDevice = new(string)
		case d.VirtualName == "":
			dev.Ebs = &ebsItem{
				SnapshotID: d.SnapshotID, VolumeSize: d.SizeGiB, DeleteOnTermination: d.DeleteOnTermination,
				VolumeType: d.VolumeType, Iops: d.IOPS, Throughput: d.Throughput, Encrypted: d.Encrypted,
			}
		}
		item.BlockDeviceMappings.Items = append(item.BlockDeviceMappings.Items, dev)
	}
	return item
}

// describeImages lists images. All belong to the one account, and an owner sees
// its deprecated images whatever IncludeDeprecated says.
func (s *Service) describeImages(r *request) (reply, error) {
	ids, owners, users := r.list("ImageId"), r.list("Owner"), r.list("ExecutableBy")
	filters, pg, disabled := r.filters(), r.paging(1), r.flag("IncludeDisabled", false)
	r.ignore("IncludeDeprecated")
	if err := r.checked(); err != nil {
		return nil, err
	}
	var rows []store.Image
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		rows = s.Store.Images(reg)
		return found("ami", "InvalidAMIID", ids, reg.Images, func(id string) string { return "The image id '[" + id + "]' does not exist" })
	})
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(img store.Image) bool {
		return len(ids) > 0 && !slices.Contains(ids, img.ID) || !s.mine(owners) || !s.shared(img.Permissions, users) ||
			img.State == store.ImageDisabled && !disabled
	})
	if rows, err = s.imageFilters().keep(rows, filters); err != nil {
		return nil, err
	}
	rows, next, err := page(s, r, pg, rows, func(i store.Image) string { return rowKey(i.CreationDate, i.ID) })
	if err != nil {
		return nil, err
	}
	out := &describeImagesReply{NextToken: next}
	for _, img := range rows {
		out.Images.Items = append(out.Images.Items, s.imageItem(img))
	}
	return out, nil
}

// findImage finds an image by its id.
func (s *Service) findImage(reg *store.Region, id string) (store.Image, error) {
	if err := wellFormed("ami", "InvalidAMIID", id); err != nil {
		return store.Image{}, err
	}
	img, ok := s.Store.Image(reg, id)
	if !ok {
		return img, call.Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	return img, nil
}

// usableImage is findImage for a caller that launches or copies the image, or
// changes who may.
func (s *Service) usableImage(reg *store.Region, id string) (store.Image, error) {
	img, err := s.findImage(reg, id)
	if err == nil && img.State != store.ImageAvailable {
		err = call.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is %s; it must be available", id, img.State)
	}
	return img, err
}

// mine tells whether a list of owners or users includes this account.
func (s *Service) mine(owners []string) bool {
	return len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, s.Account)
}

// shared tells whether something is shared explicitly with one of the users:
// accounts, "self", or "all" for everybody.
func (s *Service) shared(with []store.Permission, users []string) bool {
	return len(users) == 0 || slices.ContainsFunc(with, func(p store.Permission) bool {
		return p.User != "" && slices.Contains(users, p.User) || p.User == s.Account && slices.Contains(users, "self") ||
			p.Group != "" && slices.Contains(users, p.Group)
	})
}

// rowKey sorts as time does, then by id; paging needs it.
func rowKey(t time.Time, id string) string { return t.UTC().Format("20060102150405.000000000") + id }

// lookup is the part of a table that found needs.
type lookup[T any] interface{ Get(id string) (T, bool) }

// found refuses ids that are malformed or not there.
func found[T any](prefix, code string, ids []string, table lookup[T], message func(id string) string) error {
	for _, id := range ids {
		if err := wellFormed(prefix, code, id); err != nil {
			return err
		}
		if _, ok := table.Get(id); !ok {
			return call.Errorf(code+".NotFound", "%s", message(id))
		}
	}
	return nil
}

func wellFormed(prefix, code, id string) error {
	digits, ok := strings.CutPrefix(id, prefix+"-")
	_, err := strconv.ParseUint(digits, 16, 64)
	// 17 hex digits overflow 64 bits when the first is not 0, which is well-formed too.
	if ok && (err == nil || strings.Trim(digits, "0123456789abcdef") == "" && digits != "") {
		return nil
	}
	return call.Errorf(code+".Malformed", "Invalid id: \"%s\" (expecting \"%s-...\")", id, prefix)
}
