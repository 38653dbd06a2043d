// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ebs serves the EBS direct API of the local cloud: snapshots written
// and read in blocks of 512 KiB over REST.
package ebs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/local/call"
	"github.com/rightimage/packer-plugin-rightimage/local/store"
)

// The actions of the API, as IAM and our fault rules name them.
const (
	StartSnapshot      = "StartSnapshot"
	PutSnapshotBlock   = "PutSnapshotBlock"
	CompleteSnapshot   = "CompleteSnapshot"
	ListSnapshotBlocks = "ListSnapshotBlocks"
	GetSnapshotBlock   = "GetSnapshotBlock"
	ListChangedBlocks  = "ListChangedBlocks"
)

// Service answers EBS direct calls from a store.
type Service struct {
	Store   *store.Store
	Account string
	// Settle is how long a completed snapshot still shows itself pending.
	Settle time.Duration
	Log    *slog.Logger
}

// Action names the action of a request, "" when there is none for its method and path.
func Action(method, path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] != "snapshots" {
		return ""
	}
	switch {
	case len(parts) == 1 && method == http.MethodPost:
		return StartSnapshot
	case len(parts) == 3 && parts[1] == "completion" && method == http.MethodPost:
		return CompleteSnapshot
	case len(parts) == 3 && parts[2] == "blocks" && method == http.MethodGet:
		return ListSnapshotBlocks
	case len(parts) == 3 && parts[2] == "changedblocks" && method == http.MethodGet:
		return ListChangedBlocks
	case len(parts) == 4 && parts[2] == "blocks" && method == http.MethodPut:
		return PutSnapshotBlock
	case len(parts) == 4 && parts[2] == "blocks" && method == http.MethodGet:
		return GetSnapshotBlock
	}
	return ""
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, c *call.Call) {
	handlers := map[string]func(http.ResponseWriter, *call.Call, []string) error{
		StartSnapshot:      s.start,
		PutSnapshotBlock:   s.put,
		CompleteSnapshot:   s.complete,
		ListSnapshotBlocks: s.list,
		GetSnapshotBlock:   s.get,
		ListChangedBlocks:  s.listChanged,
	}
	handler, ok := handlers[c.Action]
	if !ok {
		WriteError(w, c.RequestID, call.Errorf("UnknownOperationException",
			"The EBS direct API has no operation for %s %s", c.HTTP.Method, c.HTTP.URL.Path).WithStatus(http.StatusNotFound))
		return
	}
	parts := strings.Split(strings.Trim(c.HTTP.URL.Path, "/"), "/")
	if err := handler(w, c, parts); err != nil {
		WriteError(w, c.RequestID, s.refusal(c, err))
	}
}

// refusal turns what went wrong into an answer of the API.
func (s *Service) refusal(c *call.Call, err error) *call.Error {
	var refused *call.Error
	if errors.As(err, &refused) {
		return refused
	}
	s.Log.Error("EBS call broke", "action", c.Action, "region", c.Region, "error", err)
	return call.Errorf("InternalServerException", "%v", err).WithStatus(http.StatusInternalServerError)
}

// WriteError writes an error in the form of the API: the type in a header, the
// message and the reason in the body.
func WriteError(w http.ResponseWriter, requestID string, e *call.Error) {
	w.Header().Set("X-Amzn-Errortype", e.Code)
	body := map[string]string{"Message": e.Message, "__type": e.Code}
	if e.Reason != "" {
		body["Reason"] = e.Reason
	}
	writeJSON(w, requestID, e.Status, body)
}

func writeJSON(w http.ResponseWriter, requestID string, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Requestid", requestID)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func invalid(reason, format string, args ...any) *call.Error {
	return call.Errorf("ValidationException", format, args...).WithReason(reason)
}

func notFound(id string) *call.Error {
	return call.Errorf("ResourceNotFoundException", "The snapshot '%s' does not exist.", id).
		WithReason("SNAPSHOT_NOT_FOUND").WithStatus(http.StatusNotFound)
}

// snapshot finds a snapshot by its id in the path.
func (s *Service) snapshot(c *call.Call, id string) (snap store.Snapshot, err error) {
	if !strings.HasPrefix(id, "snap-") {
		return snap, invalid("INVALID_SNAPSHOT_ID", "The snapshot ID '%s' is malformed. It must have the form snap-0123456789abcdef0.", id)
	}
	err = s.Store.View(c.Region, func(r *store.Region) error {
		var ok bool
		if snap, ok = s.Store.Snapshot(r, id); !ok {
			return notFound(id)
		}
		return nil
	})
	return snap, err
}

// inState is snapshot for a caller that needs one state.
func (s *Service) inState(c *call.Call, id, state string) (store.Snapshot, error) {
	snap, err := s.snapshot(c, id)
	if err != nil {
		return snap, err
	}
	if snap.State != state || snap.Sealed != (state == store.SnapshotCompleted) {
		return snap, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not in the '%s' state.", id, state)
	}
	return snap, nil
}

// storeError translates what the store says about a snapshot that vanished or
// was completed since it was looked up.
func storeError(id string, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, os.ErrClosed):
		return notFound(id)
	case errors.Is(err, store.ErrNotPending):
		return invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not in the 'pending' state.", id)
	}
	return err
}
