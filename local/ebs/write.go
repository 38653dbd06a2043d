// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// Limits of StartSnapshot, from the EBS direct API reference.
const (
	maxVolumeGiB      = 64 << 10
	minTimeoutMinutes = 10
	maxTimeoutMinutes = 4320
	defaultTimeout    = 60
	maxTags           = 50
	maxTokenLength    = 255
)

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

type startRequest struct {
	VolumeSize       *int64 `json:"VolumeSize"`
	ParentSnapshotID string `json:"ParentSnapshotId"`
	Tags             []tag  `json:"Tags"`
	Description      string `json:"Description"`
	ClientToken      string `json:"ClientToken"`
	Encrypted        *bool  `json:"Encrypted"`
	KmsKeyArn        string `json:"KmsKeyArn"`
	Timeout          *int64 `json:"Timeout"`
}

type startResponse struct {
	Description      string  `json:"Description,omitempty"`
	SnapshotID       string  `json:"SnapshotId"`
	OwnerID          string  `json:"OwnerId"`
	Status           string  `json:"Status"`
	StartTime        float64 `json:"StartTime"`
	VolumeSize       int64   `json:"VolumeSize"`
	BlockSize        int     `json:"BlockSize"`
	Tags             []tag   `json:"Tags,omitempty"`
	ParentSnapshotID string  `json:"ParentSnapshotId,omitempty"`
	KmsKeyArn        string  `json:"KmsKeyArn,omitempty"`
	SseType          string  `json:"SseType"`
}

// start makes an empty pending snapshot.
func (s *Service) start(w http.ResponseWriter, c *call.Call, _ []string) error {
	var req startRequest
	dec := json.NewDecoder(bytes.NewReader(c.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return invalid("INVALID_PARAMETER_VALUE", "The request body is not a StartSnapshot request: %v", err)
	}
	snap, err := s.newSnapshot(req)
	if err != nil {
		return err
	}
	err = s.Store.Update(c.Region, func(r *store.Region) error {
		if old, ok := repeated(s.Store.Snapshots(r), snap.ClientToken); ok {
			if old.RequestHash != snap.RequestHash {
				return call.Errorf("ConflictException",
					"The client token '%s' was used before with other parameters (snapshot %s).", snap.ClientToken, old.ID).
					WithStatus(http.StatusConflict)
			}
			snap = old
			return nil
		}
		if err := s.checkParent(r, snap); err != nil {
			return err
		}
		if snap.KmsKeyID, err = s.key(r, snap, req); err != nil {
			return err
		}
		snap.Encrypted, snap.State = snap.KmsKeyID != "", store.SnapshotPending
		return s.Store.CreateSnapshot(r, snap)
	})
	if err != nil {
		return err
	}
	resp := startResponse{
		Description: snap.Description, SnapshotID: snap.ID, OwnerID: s.Account, Status: snap.State,
		StartTime: float64(snap.StartTime.UnixMilli()) / 1000, VolumeSize: snap.SizeGiB, BlockSize: store.BlockSize,
		ParentSnapshotID: snap.ParentID, KmsKeyArn: snap.KmsKeyID, SseType: "none",
	}
	if snap.Encrypted {
		resp.SseType = "sse-kms"
	}
	for k, v := range maps.All(snap.Tags) {
		resp.Tags = append(resp.Tags, tag{k, v})
	}
	writeJSON(w, c.RequestID, http.StatusCreated, resp)
	return nil
}

func repeated(snaps []store.Snapshot, token string) (store.Snapshot, bool) {
	for _, old := range snaps {
		if token != "" && old.ClientToken == token {
			return old, true
		}
	}
	return store.Snapshot{}, false
}

// newSnapshot checks a request and makes the record of it.
func (s *Service) newSnapshot(req startRequest) (store.Snapshot, error) {
	timeout := int64(defaultTimeout)
	if req.Timeout != nil {
		timeout = *req.Timeout
	}
	switch {
	case req.VolumeSize == nil:
		return store.Snapshot{}, invalid("INVALID_VOLUME_SIZE", "VolumeSize is required")
	case *req.VolumeSize < 1 || *req.VolumeSize > maxVolumeGiB:
		return store.Snapshot{}, invalid("INVALID_VOLUME_SIZE", "VolumeSize must be between 1 and %d GiB, but is %d", maxVolumeGiB, *req.VolumeSize)
	case timeout < minTimeoutMinutes || timeout > maxTimeoutMinutes:
		return store.Snapshot{}, invalid("INVALID_PARAMETER_VALUE", "Timeout must be between %d and %d minutes, but is %d", minTimeoutMinutes, maxTimeoutMinutes, timeout)
	case len(req.ClientToken) > maxTokenLength:
		return store.Snapshot{}, invalid("INVALID_PARAMETER_VALUE", "ClientToken must have at most %d characters", maxTokenLength)
	case len(req.Description) > maxTokenLength:
		return store.Snapshot{}, invalid("INVALID_PARAMETER_VALUE", "Description must have at most %d characters", maxTokenLength)
	case req.Encrypted != nil && req.ParentSnapshotID != "":
		return store.Snapshot{}, invalid("INVALID_PARAMETER_VALUE", "Encrypted and ParentSnapshotId cannot be given together")
	}
	tags, err := tagMap(req.Tags)
	if err != nil {
		return store.Snapshot{}, err
	}
	hashed, err := json.Marshal(req)
	if err != nil {
		return store.Snapshot{}, err
	}
	sum := sha256.Sum256(hashed)
	return store.Snapshot{
		ID: store.NewID("snap"), VolumeID: store.NoVolume, ParentID: req.ParentSnapshotID,
		Description: req.Description, SizeGiB: *req.VolumeSize, Tags: tags, StartTime: s.Store.Now().UTC(),
		Timeout: time.Duration(timeout) * time.Minute, ClientToken: req.ClientToken, RequestHash: hex.EncodeToString(sum[:]),
	}, nil
}

func tagMap(tags []tag) (map[string]string, error) {
	m := map[string]string{}
	for _, t := range tags {
		if t.Key == "" || len(t.Key) > 128 || len(t.Value) > 256 || m[t.Key] != "" {
			return nil, invalid("INVALID_TAG", "The tag '%s' is not valid: keys have 1 to 128 characters and come once, values have at most 256", t.Key)
		}
		m[t.Key] = t.Value
	}
	if len(m) > maxTags {
		return nil, invalid("INVALID_TAG", "A snapshot can have at most %d tags", maxTags)
	}
	return m, nil
}

func (s *Service) checkParent(r *store.Region, snap store.Snapshot) error {
	if snap.ParentID == "" {
		return nil
	}
	parent, ok := s.Store.Snapshot(r, snap.ParentID)
	if !ok {
		return notFound(snap.ParentID)
	}
	if parent.State != store.SnapshotCompleted {
		return invalid("INVALID_SNAPSHOT_ID", "The parent snapshot '%s' is not in the 'completed' state.", parent.ID)
	}
	if snap.SizeGiB < parent.SizeGiB {
		return invalid("INVALID_VOLUME_SIZE", "VolumeSize must not be smaller than the %d GiB of the parent snapshot", parent.SizeGiB)
	}
	return nil
}

// put writes one block.
func (s *Service) put(w http.ResponseWriter, c *call.Call, parts []string) error {
	snap, err := s.inState(c, parts[1], store.SnapshotPending)
	if err != nil {
		return err
	}
	index, err := blockIndex(snap, parts[3])
	if err != nil {
		return err
	}
	h := c.HTTP.Header
	sum := sha256.Sum256(c.Body)
	encoded := base64.StdEncoding.EncodeToString(sum[:])
	switch {
	case h.Get("X-Amz-Checksum-Algorithm") != "SHA256":
		return invalid("INVALID_PARAMETER_VALUE", "The header x-amz-Checksum-Algorithm must be SHA256, but is '%s'", h.Get("X-Amz-Checksum-Algorithm"))
	case h.Get("X-Amz-Data-Length") != strconv.Itoa(store.BlockSize):
		return invalid("INVALID_PARAMETER_VALUE", "The header x-amz-Data-Length must be %d, but is '%s'", store.BlockSize, h.Get("X-Amz-Data-Length"))
	case len(c.Body) != store.BlockSize:
		return invalid("INVALID_BLOCK", "The block data must have %d bytes, but has %d", store.BlockSize, len(c.Body))
	case h.Get("X-Amz-Checksum") != encoded:
		return invalid("INVALID_BLOCK", "The checksum of the block data is %s, but the header x-amz-Checksum says '%s'", encoded, h.Get("X-Amz-Checksum"))
	}
	if p := h.Get("X-Amz-Progress"); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || n > 100 {
			return invalid("INVALID_PARAMETER_VALUE", "The header x-amz-Progress must be between 0 and 100, but is '%s'", p)
		}
	}
	if err := s.Store.PutBlock(c.Region, snap.ID, index, c.Body, sum); err != nil {
		return storeError(snap.ID, err)
	}
	w.Header().Set("X-Amz-Checksum", encoded)
	w.Header().Set("X-Amz-Checksum-Algorithm", "SHA256")
	writeJSON(w, c.RequestID, http.StatusCreated, struct{}{})
	return nil
}

func blockIndex(snap store.Snapshot, text string) (int, error) {
	blocks := snap.SizeGiB << 30 / store.BlockSize
	index, err := strconv.ParseInt(text, 10, 32)
	if err != nil || index < 0 || index >= blocks {
		return 0, invalid("INVALID_BLOCK", "The block index must be between 0 and %d, but is '%s'", blocks-1, text)
	}
	return int(index), nil
}

// complete checks the count and, when given, the aggregate of all sums.
func (s *Service) complete(w http.ResponseWriter, c *call.Call, parts []string) error {
	snap, err := s.snapshot(c, parts[2])
	if err != nil {
		return err
	}
	h := c.HTTP.Header
	want, err := strconv.Atoi(h.Get("X-Amz-Changedblockscount"))
	if err != nil {
		return invalid("INVALID_PARAMETER_VALUE", "The header x-amz-ChangedBlocksCount must be a number, but is '%s'", h.Get("X-Amz-Changedblockscount"))
	}
	checksum := h.Get("X-Amz-Checksum")
	algorithm, method := h.Get("X-Amz-Checksum-Algorithm"), h.Get("X-Amz-Checksum-Aggregation-Method")
	if checksum != "" && (algorithm != "SHA256" || method != "LINEAR") {
		return invalid("INVALID_PARAMETER_VALUE", "x-amz-Checksum needs x-amz-Checksum-Algorithm SHA256 and x-amz-Checksum-Aggregation-Method LINEAR, not '%s' and '%s'", algorithm, method)
	}
	if snap.Sealed {
		// A repeated call, for the answer to the first may have been lost.
		writeJSON(w, c.RequestID, http.StatusAccepted, map[string]string{"Status": snap.State})
		return nil
	}
	if snap.State != store.SnapshotPending {
		return invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not in the 'pending' state.", snap.ID)
	}
	err = s.Store.Seal(c.Region, snap.ID, s.Settle, func(written int, aggregate store.Sum) error {
		if written != want {
			return invalid("INVALID_PARAMETER_VALUE", "x-amz-ChangedBlocksCount is %d, but %d blocks were written to the snapshot", want, written)
		}
		if got := base64.StdEncoding.EncodeToString(aggregate[:]); checksum != "" && checksum != got {
			return invalid("INVALID_PARAMETER_VALUE", "The checksum of the snapshot is %s, but the header x-amz-Checksum says '%s'", got, checksum)
		}
		return nil
	})
	if err != nil {
		return storeError(snap.ID, err)
	}
	if snap, err = s.snapshot(c, snap.ID); err != nil {
		return err
	}
	writeJSON(w, c.RequestID, http.StatusAccepted, map[string]string{"Status": snap.State})
	return nil
}
