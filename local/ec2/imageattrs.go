// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// modifyImageAttribute changes one attribute: the description, who may launch
// the image, or that its instances need IMDSv2.
func (s *Service) modifyImageAttribute(r *request) (reply, error) {
	attribute := r.oneOf("Attribute", "", "description", "launchPermission", "imdsSupport")
	share := r.sharing("LaunchPermission")
	if err := share.check("InvalidAMIAttributeItemValue"); err != nil {
		r.fail(err)
	}
	value := map[string]string{"description": r.str("Description.Value"), "imdsSupport": r.str("ImdsSupport.Value")}
	given := map[string]bool{"description": r.has("Description"), "imdsSupport": r.has("ImdsSupport"), "launchPermission": !share.empty()}
	if r.has("Value") {
		value[attribute], given[attribute] = r.str("Value"), true
	}
	count := 0
	for name, yes := range given {
		if yes {
			attribute = name
			count++
		}
	}
	if count != 1 {
		r.fail(call.Errorf("InvalidParameterCombination", "The request must change one attribute: description, launchPermission or imdsSupport."))
	}
	return s.changeImage(r, func(reg *store.Region, img *store.Image) error {
		if state := img.Now(s.Store.Now()).State; state != store.ImageAvailable {
			return call.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is %s; it must be available", img.ID, state)
		}
		switch attribute {
		case "launchPermission":
			if err := s.mayShareImage(reg, *img, share); err != nil {
				return err
			}
			img.Permissions = share.apply(img.Permissions)
		case "description":
			if err := checkName(img.Name, value[attribute]); err != nil {
				return err
			}
			img.Description = value[attribute]
		case "imdsSupport":
			if value[attribute] != "v2.0" {
				return call.Errorf("InvalidParameterValue", "Value (%s) for parameter imdsSupport is invalid. Valid values: v2.0.", value[attribute])
			}
			img.ImdsSupport = value[attribute]
		}
		return nil
	})
}

type valueItem struct {
	Value string `xml:"value,omitempty"`
}

type imageAttributeReply struct {
	meta
	ImageID           string               `xml:"imageId"`
	LaunchPermissions *set[permissionItem] `xml:"launchPermission"`
	ProductCodes      *set[struct{}]       `xml:"productCodes"`
	Description       *valueItem           `xml:"description"`
	Kernel            *valueItem           `xml:"kernel"`
	Ramdisk           *valueItem           `xml:"ramdisk"`
	SriovNetSupport   *valueItem           `xml:"sriovNetSupport"`
	BootMode          *valueItem           `xml:"bootMode"`
	TpmSupport        *valueItem           `xml:"tpmSupport"`
	UefiData          *valueItem           `xml:"uefiData"`
	ImdsSupport       *valueItem           `xml:"imdsSupport"`
	Protection        *valueItem           `xml:"deregistrationProtection"`
}

func (s *Service) describeImageAttribute(r *request) (reply, error) {
	id, attribute := r.str("ImageId"), r.str("Attribute")
	for name, v := range map[string]string{"ImageId": id, "Attribute": attribute} {
		if v == "" {
			r.fail(missing(name))
		}
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &imageAttributeReply{ImageID: id}
	err := s.Store.View(r.Region, func(reg *store.Region) error {
		img, err := s.findImage(reg, id)
		if err != nil {
			return err
		}
		return out.show(img, attribute)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// show fills in the one attribute that was asked for.
func (out *imageAttributeReply) show(img store.Image, attribute string) error {
	switch attribute {
	case "launchPermission":
		out.LaunchPermissions = permissionSet(img.Permissions)
	case "productCodes":
		out.ProductCodes = &set[struct{}]{}
	case "description":
		out.Description = &valueItem{img.Description}
	case "kernel":
		out.Kernel = &valueItem{}
	case "ramdisk":
		out.Ramdisk = &valueItem{}
	case "sriovNetSupport":
		out.SriovNetSupport = &valueItem{img.SriovNetSupport}
	case "bootMode":
		out.BootMode = &valueItem{img.BootMode}
	case "tpmSupport":
		out.TpmSupport = &valueItem{img.TpmSupport}
	case "uefiData":
		out.UefiData = &valueItem{img.UefiData}
	case "imdsSupport":
		out.ImdsSupport = &valueItem{img.ImdsSupport}
	case "deregistrationProtection":
		out.Protection = &valueItem{protection(img)}
	case "blockDeviceMapping": // AWS has no better answer any more
		return call.Errorf("AuthFailure", "Unauthorized attempt to access restricted resource")
	default:
		return call.Errorf("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", attribute)
	}
	return nil
}

// resetImageAttribute makes an image private.
func (s *Service) resetImageAttribute(r *request) (reply, error) {
	if r.oneOf("Attribute", "", "launchPermission") == "" {
		r.fail(missing("Attribute"))
	}
	return s.changeImage(r, func(_ *store.Region, img *store.Image) error {
		img.Permissions = nil
		return nil
	})
}
