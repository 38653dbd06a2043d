// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"net/http"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/kms"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// key decides with which key a new snapshot is encrypted, "" for none, by the
// table "Encryption outcomes" of the EBS user guide. The data are not encrypted
// here; everything that a client can see is as if they were.
func (s *Service) key(r *store.Region, snap store.Snapshot, req startRequest) (string, error) {
	settings := r.Settings()
	if snap.ParentID != "" {
		parent, _ := r.Snapshots.Get(snap.ParentID) // checkParent found it
		switch {
		case req.KmsKeyArn != "":
			return "", invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn and ParentSnapshotId cannot be given together: the snapshot is encrypted with the key of its parent")
		case settings.EncryptByDefault && !parent.Encrypted:
			return "", invalid("INVALID_PARAMETER_VALUE", "The parent snapshot '%s' is not encrypted, but encryption by default is enabled", parent.ID)
		}
		return parent.KmsKeyID, nil
	}
	wanted := settings.EncryptByDefault
	if req.Encrypted != nil {
		wanted = *req.Encrypted
	}
	switch {
	case !wanted && settings.EncryptByDefault:
		return "", invalid("INVALID_PARAMETER_VALUE", "The snapshot must be encrypted, because encryption by default is enabled")
	case !wanted && req.KmsKeyArn != "":
		return "", invalid("INVALID_PARAMETER_VALUE", "KmsKeyArn needs Encrypted to be true")
	case !wanted:
		return "", nil
	case req.KmsKeyArn == "" && settings.DefaultKmsKeyID != "":
		return settings.DefaultKmsKeyID, nil
	case req.KmsKeyArn == "":
		return kms.Managed(r.Name, s.Account), nil
	}
	arn, ok := kms.Resolve(r.Name, s.Account, req.KmsKeyArn)
	if !ok || !strings.HasPrefix(req.KmsKeyArn, "arn:") {
		return "", call.Errorf("ResourceNotFoundException", "The KMS key '%s' does not exist in %s. It must be an ARN.", req.KmsKeyArn, r.Name).
			WithReason("DEPENDENCY_RESOURCE_NOT_FOUND").WithStatus(http.StatusNotFound)
	}
	return arn, nil
}
