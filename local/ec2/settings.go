// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/kms"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// settingActions are those on what the account has set for a region.
func (s *Service) settingActions() map[string]handler {
	return map[string]handler{
		"GetImageBlockPublicAccessState":    s.setting(nil),
		"EnableImageBlockPublicAccess":      s.setting(blockImages),
		"DisableImageBlockPublicAccess":     s.setting(unblockImages),
		"GetSnapshotBlockPublicAccessState": s.setting(nil),
		"EnableSnapshotBlockPublicAccess":   s.setting(blockSnapshots),
		"DisableSnapshotBlockPublicAccess":  s.setting(unblockSnapshots),
		"GetEbsEncryptionByDefault":         s.setting(nil),
		"EnableEbsEncryptionByDefault":      s.setting(func(_ *request, v *store.Settings) { v.EncryptByDefault = true }),
		"DisableEbsEncryptionByDefault":     s.setting(func(_ *request, v *store.Settings) { v.EncryptByDefault = false }),
		"GetEbsDefaultKmsKeyId":             s.setting(nil),
		"ModifyEbsDefaultKmsKeyId":          s.setting(s.useKey),
		"ResetEbsDefaultKmsKeyId":           s.setting(func(_ *request, v *store.Settings) { v.DefaultKmsKeyID = "" }),
	}
}

// settingsReply has the element of whichever action it answers; all of them
// tell the state after the call.
type settingsReply struct {
	meta
	ImageBlock       string `xml:"imageBlockPublicAccessState,omitempty"`
	SnapshotBlock    string `xml:"state,omitempty"`
	ManagedBy        string `xml:"managedBy,omitempty"`
	EncryptByDefault *bool  `xml:"ebsEncryptionByDefault"`
	KmsKeyID         string `xml:"kmsKeyId,omitempty"`
}

// setting makes the handler of an action that reads or changes the settings.
func (s *Service) setting(change func(*request, *store.Settings)) handler {
	return func(r *request) (reply, error) {
		var now store.Settings
		update := func(reg *store.Region) error {
			now = reg.Settings()
			if change != nil {
				change(r, &now)
			}
			if err := r.checked(); err != nil || change == nil {
				return err
			}
			return reg.PutSettings(now)
		}
		if err := s.Store.Update(r.Region, update); err != nil {
			return nil, err
		}
		return s.settingsReply(r, now), nil
	}
}

func (s *Service) settingsReply(r *request, now store.Settings) *settingsReply {
	out := &settingsReply{}
	switch r.Action {
	case "GetImageBlockPublicAccessState", "EnableImageBlockPublicAccess", "DisableImageBlockPublicAccess":
		out.ImageBlock = now.ImageBlock
	case "GetSnapshotBlockPublicAccessState", "EnableSnapshotBlockPublicAccess", "DisableSnapshotBlockPublicAccess":
		out.SnapshotBlock = now.SnapshotBlock
	case "GetEbsEncryptionByDefault", "EnableEbsEncryptionByDefault", "DisableEbsEncryptionByDefault":
		out.EncryptByDefault = &now.EncryptByDefault
	default:
		out.KmsKeyID = orText(now.DefaultKmsKeyID, kms.Managed(r.Region, s.Account))
	}
	if out.ImageBlock+out.SnapshotBlock != "" {
		out.ManagedBy = "account"
	}
	return out
}

func blockImages(r *request, v *store.Settings) {
	v.ImageBlock = r.oneOf("ImageBlockPublicAccessState", "", store.BlockNewSharing)
	if v.ImageBlock == "" {
		r.fail(missing("ImageBlockPublicAccessState"))
	}
}

func unblockImages(_ *request, v *store.Settings) { v.ImageBlock = store.Unblocked }

func blockSnapshots(r *request, v *store.Settings) {
	v.SnapshotBlock = r.oneOf("State", "", store.BlockNewSharing, store.BlockAllSharing)
	if v.SnapshotBlock == "" {
		r.fail(missing("State"))
	}
}

func unblockSnapshots(_ *request, v *store.Settings) { v.SnapshotBlock = store.Unblocked }

func (s *Service) useKey(r *request, v *store.Settings) {
	key, ok := kms.Resolve(r.Region, s.Account, r.str("KmsKeyId"))
	if !ok {
		r.fail(call.Errorf("InvalidParameterValue", "The KMS key '%s' does not exist in %s.", r.str("KmsKeyId"), r.Region))
	}
	v.DefaultKmsKeyID = key
}
