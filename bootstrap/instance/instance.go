// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package instance is the logic of the rightboot stage: which kind of boot this
// is, by instance id and boot id, and what must be forgotten or flagged.
package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// Kind is a kind of boot.
type Kind string

// The kinds of boot.
const (
	FirstBoot Kind = "first-boot"   // no marker of an earlier boot
	SameBoot  Kind = "same-boot"    // the stage ran before in this boot
	Reboot    Kind = "reboot"       // same instance, new boot
	StopStart Kind = "stop-start"   // same instance, was stopped in between
	Cloned    Kind = "cloned-image" // another instance's disk; its identity is wiped
)

// marker is the progress marker: the instance and the boot for which Check has
// done its work.
type marker struct {
	InstanceID string `json:"instance_id"`
	BootID     string `json:"boot_id"`
}

// ErrNoInstanceID means that Check was called without an id: guessing could
// wipe the identity of a healthy instance.
var ErrNoInstanceID = errors.New("instance id is empty")

// Check tells the kind of this boot and acts on it: a changed instance id wipes
// the old identity, agent state, caches, spool and status; a reboot sets the
// reboot flag in the agent's state.js. Temporary files that a power cut has left
// go. The marker that Check compares with is written last, so a killed Check is
// repeated in full.
func Check(root, instanceID string) (Kind, error) {
	if instanceID == "" {
		return "", ErrNoInstanceID
	}
	now := marker{instanceID, BootID(root)}
	before, known, err := lastMarker(root)
	if err != nil {
		return "", err
	}
	kind := classify(root, before, known, now)
	switch kind {
	case Cloned:
		err = wipe(root, instanceID)
	case Reboot, StopStart:
		err = setReboot(root)
	case FirstBoot, SameBoot:
	}
	if err != nil || kind == SameBoot {
		return kind, err
	}
	if err := sweep(root); err != nil {
		return kind, fmt.Errorf("remove what a power cut has left: %w", err)
	}
	text, err := json.Marshal(now)
	if err != nil {
		return kind, err
	}
	return kind, atomicfile.WriteMkdir(markerPath(root), append(text, '\n'), 0o600, 0o755)
}

// classify compares the marker with now. Without a marker, what other parts
// remember of another instance still makes it a clone: an image may be taken
// between two stages.
func classify(root string, before marker, known bool, now marker) Kind {
	switch {
	case !known && otherInstance(root, now.InstanceID):
		return Cloned
	case !known:
		return FirstBoot
	case before.InstanceID != now.InstanceID:
		return Cloned
	case before.BootID == now.BootID && now.BootID != "":
		return SameBoot
	case lastShutdown(root) == "stop":
		return StopStart
	}
	return Reboot
}

// otherInstance says that the status file or the agent's state names another
// instance.
func otherInstance(root, id string) bool {
	if s, err := status.Load(root); err == nil && s.InstanceID != "" && s.InstanceID != id {
		return true
	}
	uid := agentState(root).UID
	return uid != "" && uid != id
}

func markerPath(root string) string {
	return filepath.Join(root, "var/lib/rightscale/instance.json")
}

// lastMarker reads the marker; a damaged one counts as none, which is a first
// boot: nothing is wiped on the word of a broken file.
func lastMarker(root string) (m marker, known bool, err error) {
	text, err := os.ReadFile(markerPath(root))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read the boot marker: %w", err)
	}
	if json.Unmarshal(text, &m) != nil || m.InstanceID == "" {
		return marker{}, false, nil //nolint:nilerr // see above
	}
	return m, true, nil
}

// BootID is the kernel's id of this boot, or "" when it cannot be read. A file
// below root goes before the kernel's own, so that a test can reboot.
func BootID(root string) string {
	const file = "proc/sys/kernel/random/boot_id"
	for _, p := range []string{filepath.Join(root, file), "/" + file} {
		if text, err := os.ReadFile(p); err == nil {
			return strings.TrimSpace(string(text))
		}
	}
	return ""
}
