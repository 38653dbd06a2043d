// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	connect "github.com/aws/aws-sdk-go-v2/service/ec2instanceconnect"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	gossh "golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// connecting is the SDK's connection step with the addresses and keys of EC2.
// It gives up early when the machine or the tunnel is gone, and always leaves an
// error when it halts.
type connecting struct {
	f     *flow
	inner *communicator.StepConnect
}

// Run implements multistep.Step.
func (c *connecting) Run(ctx context.Context, state multistep.StateBag) multistep.StepAction {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if t, err := keyTunnel.Get(state); err == nil {
		defer t.guard(cancel)()
	}
	reach := &reach{ctx: ctx, giveUp: cancel, f: c.f, state: state, given: c.f.comm.SSHHost}
	c.inner = &communicator.StepConnect{
		Config: &c.f.comm, Host: reach.host, SSHPort: reach.port, SSHConfig: reach.config,
	}
	action := c.inner.Run(ctx, state)
	if action == multistep.ActionContinue {
		return action
	}
	err, _ := state.Get("error").(error)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err == nil {
		err = errors.New("halted without a reason")
	}
	err = fmt.Errorf("connect to the build machine: %w%s", err, reach.hint(ctx))
	state.Put("error", err)
	if ui, ok := state.Get("ui").(packersdk.Ui); ok {
		ui.Error(err.Error())
	}
	return action
}

// Cleanup implements multistep.Step.
func (c *connecting) Cleanup(state multistep.StateBag) {
	if c.inner != nil {
		c.inner.Cleanup(state)
	}
}

// reach answers the SDK's questions: where, and with which keys.
type reach struct {
	ctx    context.Context // the step's: the SDK's questions carry none
	giveUp context.CancelCauseFunc
	f      *flow
	state  multistep.StateBag
	given  string // ssh_host of the template
	found  address
}

// host is asked before every attempt, port after it.
func (r *reach) host(state multistep.StateBag) (string, error) {
	r.found = address{r.given, r.f.comm.SSHPort}
	if t, err := keyTunnel.Get(state); err == nil {
		r.found = address{"127.0.0.1", t.port}
		return r.found.host, nil
	}
	if r.given != "" {
		return r.given, nil
	}
	id, err := keyInstance.Get(state)
	if err != nil {
		return "", err
	}
	p, err := keyPlace.Get(state)
	if err != nil {
		return "", err
	}
	found, err := r.f.site.address(r.ctx, r.f.ec2, id, p.iface, r.f.config.Comm.SSHPort)
	var gone *goneError
	if errors.As(err, &gone) {
		r.giveUp(err)
	}
	if err == nil {
		r.found = found
	}
	return found.host, err
}

func (r *reach) port(multistep.StateBag) (int, error) { return r.found.port, nil }

// config is that of the SDK. With EC2 Instance Connect the key is pushed at the
// moment in which the server asks for it, when the SDK connects again as well.
func (r *reach) config(state multistep.StateBag) (*gossh.ClientConfig, error) {
	c, err := r.f.comm.SSHConfigFunc()(state)
	if err != nil || !r.f.config.InstanceConnect {
		return c, err
	}
	signer, err := gossh.ParsePrivateKey(r.f.comm.SSHPrivateKey)
	if err != nil {
		return nil, err
	}
	id, err := keyInstance.Get(state)
	if err != nil {
		return nil, err
	}
	c.Auth = []gossh.AuthMethod{gossh.PublicKeysCallback(func() ([]gossh.Signer, error) {
		if err := r.f.site.pushKey(r.f.life, r.f.keys, id, r.f.comm.SSHUsername, r.f.comm.SSHPublicKey); err != nil {
			return nil, err
		}
		return []gossh.Signer{signer}, nil
	})}
	return c, nil
}

// hint says what to look at when nothing answered.
func (r *reach) hint(ctx context.Context) string {
	if ctx.Err() != nil || r.found.host == "" {
		return ""
	}
	return fmt.Sprintf(" (tried %s@%s port %d: check ssh_username, that the security groups and routes let this machine in, and ssh_timeout)",
		r.f.comm.SSHUsername, r.found.host, r.found.port)
}

// pushKey lets a key log in for a minute.
func (s *site) pushKey(ctx context.Context, api keyPusher, id, user string, public []byte) error {
	out, err := api.SendSSHPublicKey(ctx, &connect.SendSSHPublicKeyInput{
		InstanceId: aws.String(id), InstanceOSUser: aws.String(user), SSHPublicKey: aws.String(string(public)),
	})
	if err == nil && !out.Success {
		err = errors.New("EC2 Instance Connect did not take it")
	}
	return s.fail("push the key to "+id, err)
}

// provision runs the template's provisioners.
func (f *flow) provision(ctx context.Context, j *step.Job) error {
	comm, ok := j.State.Get("communicator").(packersdk.Communicator)
	if !ok {
		return errors.New("there is no connection in the state")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if t, err := keyTunnel.Get(j.State); err == nil {
		defer t.guard(cancel)()
	}
	err := j.Provision(ctx, comm)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	return err
}

// forgetKey removes the key of this build from the machine, so that the image
// does not have it.
func (f *flow) forgetKey(ctx context.Context, j *step.Job) error {
	script := forgetKey(f.comm.SSHPublicKey)
	if !f.config.temporaryKey() || f.config.InstanceConnect || f.config.DisableStopInstance || script == "" {
		return nil
	}
	comm, ok := j.State.Get("communicator").(packersdk.Communicator)
	if !ok {
		return errors.New("there is no connection in the state")
	}
	cmd := &packersdk.RemoteCmd{Command: script}
	if err := cmd.RunWithUi(ctx, comm, j.UI); err != nil {
		if ctx.Err() != nil {
			return err
		}
		j.UI.Error("The key of this build stays in the image's authorized_keys (nobody has its private half): " + err.Error())
	}
	return nil
}
