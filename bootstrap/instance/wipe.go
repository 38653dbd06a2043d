// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package instance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/spool"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/userdata"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// wipe removes what belongs to another instance: first the identity, so that a
// kill in the middle can never leave an agent that enrols as the other one.
// The status is kept if its stages are of this instance already.
func wipe(root, id string) error {
	errs := []error{
		os.RemoveAll(filepath.Join(root, userdata.IdentityPath)),
		os.RemoveAll(filepath.Join(root, "var/lib/rightscale/enrolment")), // the agent's keys
		os.RemoveAll(filepath.Join(root, "var/lib/rightscale/right_link")),
		os.RemoveAll(filepath.Join(root, "run/rightlink")),
		empty(filepath.Join(root, "var/spool/rightlink/attachments")),
		empty(filepath.Join(root, "var/spool/rightlink/scripts")),
		spool.Wipe(root),
	}
	s, err := status.Load(root)
	if errors.Is(err, status.ErrCorrupt) || err == nil && s.InstanceID != "" && s.InstanceID != id {
		err = os.Remove(status.Path(root))
	}
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("forget the other instance: %w", err)
	}
	return nil
}

// empty removes what is in dir.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return errors.Join(errs...)
}

func statePath(root string) string {
	return filepath.Join(root, "var/lib/rightscale/right_link/state.js")
}

// agent is what this package reads of the agent's state.js.
type agent struct {
	UID              string `json:"last_observed_resource_uid"`
	DecommissionType string `json:"decommission_type"`
}

func agentState(root string) agent {
	var a agent
	if text, err := os.ReadFile(statePath(root)); err == nil {
		_ = json.Unmarshal(text, &a) // damaged: as if absent; the agent deals with it
	}
	return a
}

// lastShutdown is the reason of the last shutdown that the agent saw: reboot,
// stop, terminate or "".
func lastShutdown(root string) string { return agentState(root).DecommissionType }

// setReboot sets "reboot" in state.js and keeps every other field as it is. A
// missing or damaged file is left to the agent.
func setReboot(root string) error {
	text, err := os.ReadFile(statePath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set the reboot flag: %w", err)
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(text, &fields) != nil || len(fields) == 0 {
		return nil //nolint:nilerr // see above
	}
	if bytes.Equal(fields["reboot"], []byte("true")) {
		return nil
	}
	fields["reboot"] = json.RawMessage("true")
	text, err = json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("set the reboot flag: %w", err)
	}
	return atomicfile.Write(statePath(root), text, 0o600)
}
