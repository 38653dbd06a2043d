// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

type deregisterImageReply struct {
	meta
	Return  bool             `xml:"return"`
	Results set[deletedItem] `xml:"deleteSnapshotResultSet"`
}

type deletedItem struct {
	SnapshotID string `xml:"snapshotId"`
	ReturnCode string `xml:"returnCode"`
}

// deregisterImage removes an image. Its snapshots stay unless the request says
// otherwise and no other image uses them.
func (s *Service) deregisterImage(r *request) (reply, error) {
	id := r.str("ImageId")
	with := r.flag("DeleteAssociatedSnapshots", false)
	if id == "" {
		r.fail(missing("ImageId"))
	}
	if err := r.checked(); err != nil {
		return nil, err
	}
	out := &deregisterImageReply{Return: true}
	err := s.Store.Update(r.Region, func(reg *store.Region) error {
		if err := wellFormed("ami", "InvalidAMIID", id); err != nil {
			return err
		}
		img, ok := s.Store.Image(reg, id)
		if !ok {
			return call.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is no longer available", id)
		}
		if img.Protected || img.ProtectedUntil.After(s.Store.Now()) {
			return protectedError(img)
		}
		if err := reg.Images.Delete(id); err != nil || !with {
			return err
		}
		for _, d := range img.BlockDevices {
			if d.SnapshotID == "" {
				continue
			}
			result := deletedItem{d.SnapshotID, "success"}
			if user := imageUsing(reg, d.SnapshotID); user != "" {
				result.ReturnCode = "skipped"
			} else if err := s.Store.DeleteSnapshot(reg, d.SnapshotID); err != nil {
				result.ReturnCode = "internal-error"
			}
			out.Results.Items = append(out.Results.Items, result)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// onImage runs f on the image that the call names, and puts it back.
func (s *Service) onImage(r *request, id string, f func(*store.Region, *store.Image) error) error {
	if id == "" {
		r.fail(missing("ImageId"))
	}
	if err := r.checked(); err != nil {
		return err
	}
	return s.Store.Update(r.Region, func(reg *store.Region) error {
		shown, err := s.findImage(reg, id)
		if err != nil {
			return err
		}
		if shown.State == store.ImageFailed {
			return call.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is %s", id, shown.State)
		}
		img, _ := reg.Images.Get(id) // as it is kept, not as it is shown
		if err := f(reg, &img); err != nil {
			return err
		}
		return reg.Images.Put(img)
	})
}

// changeImage is onImage for an action that only says that it did it.
func (s *Service) changeImage(r *request, f func(*store.Region, *store.Image) error) (reply, error) {
	if err := s.onImage(r, r.str("ImageId"), f); err != nil {
		return nil, err
	}
	return &done{Return: true}, nil
}

// enableDeprecation holds the limits of the API reference: in the future, and
// at most ten years ahead; for a public image two years after it was made.
func (s *Service) enableDeprecation(r *request) (reply, error) {
	text := r.str("DeprecateAt")
	at, err := time.Parse(time.RFC3339, text)
	if text == "" {
		r.fail(missing("DeprecateAt"))
	} else if err != nil {
		r.fail(call.Errorf("InvalidParameterValue", "Value (%s) for parameter deprecateAt is invalid. Use the format YYYY-MM-DDTHH:MM:SSZ.", text))
	}
	at = at.UTC().Round(time.Minute)
	return s.changeImage(r, func(_ *store.Region, img *store.Image) error {
		now := s.Store.Now()
		latest := now.AddDate(10, 0, 0)
		if img.Public() {
			latest = img.CreationDate.AddDate(2, 0, 0)
		}
		switch {
		case !at.After(now):
			return call.Errorf("InvalidParameterValue", "The deprecation date %s is in the past.", text)
		case at.After(latest):
			return call.Errorf("InvalidParameterValue", "The deprecation date %s is later than %s, the upper limit for this image.", text, stamp(latest))
		}
		img.DeprecateAt = at
		return nil
	})
}

func (s *Service) disableDeprecation(r *request) (reply, error) {
	return s.changeImage(r, func(_ *store.Region, img *store.Image) error {
		img.DeprecateAt = time.Time{}
		return nil
	})
}

// The values of deregistration protection.
const (
	unprotected = "disabled"
	protected   = "enabled-without-cooldown"
	cooling     = "enabled-with-cooldown"
)

// coolDown is how long protection with a cool-down goes on after it was disabled.
const coolDown = 24 * time.Hour

// protection is how DescribeImages shows the deregistration protection. While
// it cools down it is disabled already, and still refuses.
func protection(img store.Image) string {
	switch {
	case img.Protected && img.Cooldown:
		return cooling
	case img.Protected:
		return protected
	}
	return unprotected
}

// protectedError refuses to deregister an image.
func protectedError(img store.Image) error {
	if img.Protected {
		return call.Errorf("OperationNotPermitted", "The image '%s' cannot be deregistered because deregistration protection is %s.", img.ID, protection(img))
	}
	return call.Errorf("OperationNotPermitted", "The image '%s' cannot be deregistered before %s: deregistration protection was disabled, and its cool-down goes on.", img.ID, stamp(img.ProtectedUntil))
}

// protectionReply says how the image is protected now.
type protectionReply struct {
	meta
	Return string `xml:"return"`
}

func (s *Service) enableProtection(r *request) (reply, error) {
	cooldown := r.flag("WithCooldown", false)
	return s.changeProtection(r, func(img *store.Image) {
		img.Protected, img.Cooldown, img.ProtectedUntil = true, cooldown, time.Time{}
	})
}

func (s *Service) disableProtection(r *request) (reply, error) {
	return s.changeProtection(r, func(img *store.Image) {
		if img.Protected && img.Cooldown {
			img.ProtectedUntil = s.Store.Now().Add(coolDown).UTC()
		}
		img.Protected, img.Cooldown = false, false
	})
}

func (s *Service) changeProtection(r *request, f func(*store.Image)) (reply, error) {
	out := &protectionReply{}
	err := s.onImage(r, r.str("ImageId"), func(_ *store.Region, img *store.Image) error {
		f(img)
		out.Return = protection(*img)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// disableImage takes an image out of use: nobody can launch it, and it is
// shared with nobody any more.
func (s *Service) disableImage(r *request) (reply, error) {
	return s.changeImage(r, func(_ *store.Region, img *store.Image) error {
		if img.Now(s.Store.Now()).State == store.ImagePending {
			return call.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is pending", img.ID)
		}
		img.State, img.Permissions = store.ImageDisabled, nil
		return nil
	})
}

func (s *Service) enableImage(r *request) (reply, error) {
	return s.changeImage(r, func(_ *store.Region, img *store.Image) error {
		if img.State == store.ImageDisabled {
			img.State = ""
		}
		return nil
	})
}
