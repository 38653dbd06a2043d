// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// CancelGrace is how long a cancelled provisioner may take to notice.
const CancelGrace = 15 * time.Second

// cleanupLimit is how long the template's error-cleanup-provisioner may run.
const cleanupLimit = 5 * time.Minute

// Provision runs the template's provisioners through comm. When one fails, the
// error-cleanup-provisioner runs while the machine is still there.
func (j *Job) Provision(ctx context.Context, comm packersdk.Communicator) error {
	hook, ok := j.State.Get("hook").(packersdk.Hook)
	if !ok {
		return errors.New("no provision hook in the state")
	}
	data := hookData(j.State)
	j.State.Put("generated_data", data)
	err := waitFor(ctx, CancelGrace, func() error {
		return hook.Run(ctx, packersdk.HookProvision, j.UI, comm, data)
	})
	if err == nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	cctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	if cerr := hook.Run(cctx, packersdk.HookCleanupProvision, j.UI, comm, data); cerr != nil {
		return fmt.Errorf("%w; the cleanup provisioner failed too: %w", err, cerr)
	}
	return err
}

// hookData are the values of build.* in templates: what the builder has put into
// the state, and what Packer promises of every builder. A name that does not
// apply says so when it is used.
func hookData(state multistep.StateBag) map[string]any {
	data := map[string]any{"ID": "ERR_ID_NOT_IMPLEMENTED_BY_BUILDER", "PackerRunUUID": os.Getenv("PACKER_RUN_UUID")}
	for _, name := range []string{"IP", "Port", "Addr"} {
		data["PackerHTTP"+name] = "ERR_NO_HTTP_SERVER_IN_BUILDER"
	}
	if generated, ok := state.Get("generated_data").(map[string]any); ok {
		maps.Copy(data, generated)
	}
	if id, ok := state.GetOk("instance_id"); ok {
		data["ID"] = id
	}
	if c, ok := state.Get("communicator_config").(*communicator.Config); ok {
		maps.Copy(data, map[string]any{
			"Host": c.Host(), "Port": c.Port(), "User": c.User(), "Password": c.Password(), "WinRMPassword": c.WinRMPassword, "ConnType": c.Type,
			"SSHPublicKey": string(c.SSHPublicKey), "SSHPrivateKey": string(c.SSHPrivateKey), "SSHPrivateKeyFile": c.SSHPrivateKeyFile, "SSHAgentAuth": c.SSHAgentAuth,
		})
	}
	return data
}

// waitFor waits for fn. Once the context has ended it waits no longer than
// grace, since what hangs in another process cannot be stopped from here.
func waitFor(ctx context.Context, grace time.Duration, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(grace):
		return errors.New("a provisioner did not stop")
	}
}
