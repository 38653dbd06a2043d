// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
)

// foretell says in the place of stage "rightimage" that this launch wants no
// platform. A public image boots dormant nearly always, and most of what a
// stage costs then is the start of its process: systemd starts no
// rightimage.service in a boot that has the mark (hooks.DormantMark). The mark
// is made only where that unit would start; it goes with the boot, since
// user-data can be changed while an instance is stopped.
func (a *Agent) foretell(ctx context.Context, c cloud.Cloud) error {
	m, err := a.hooks(detect.Facts{Init: detect.Systemd})
	if err != nil || !m.Enabled(hooks.Image) {
		return err
	}
	data, err := launchData(ctx, c)
	if err != nil {
		return nil //nolint:nilerr // that stage tries again, and says why
	}
	if _, wanted := data.Settings(); wanted {
		return a.unmark()
	}
	a.dormant = &Outcome{Result: status.Dormant, Detail: dormantDetail(data)}
	if err := atomicfile.WriteLazily(a.path(hooks.DormantMark), nil, 0o600); err != nil {
		return fmt.Errorf("note that the machine is dormant: %w", err)
	}
	return nil
}

// unmark takes the mark back.
func (a *Agent) unmark() error {
	if err := os.Remove(a.path(hooks.DormantMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
