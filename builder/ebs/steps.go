// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/rightimage/packer-plugin-rightimage/builder/publish"
	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
)

// settle is the first step, so that its cleanup is the last: it removes
// everything temporary, and lists what it cannot remove.
type settle struct{ f *flow }

func (*settle) Run(context.Context, multistep.StateBag) multistep.StepAction {
	return multistep.ActionContinue
}

func (s *settle) Cleanup(state multistep.StateBag) {
	f := s.f
	n := len(f.site.owed.Open())
	if n == 0 {
		return
	}
	f.site.say("Removing what was made for this build (%d), for at most %s", n, f.config.UndoTimeout)
	f.leftover = f.site.owed.Settle(context.Background(), f.config.UndoTimeout)
	if ui, ok := state.Get("ui").(packersdk.Ui); ok && f.leftover != nil && !step.Failed(state) {
		ui.Error(f.leftover.Error()) // the image is good all the same
	}
}

// precheck finds, before anything is made, what would stop the publication.
func (f *flow) precheck(ctx context.Context, j *step.Job) error {
	p, err := publish.New(f.factory, f.config.Config, j.UI)
	if err != nil {
		return err
	}
	return p.Precheck(ctx)
}

func (f *flow) findSource(ctx context.Context, j *step.Job) error {
	image, err := f.site.findSource(ctx, f.ec2, f.parameters, f.config.SourceConfig)
	if err != nil {
		return err
	}
	if err := checkSource(image); err != nil {
		return err
	}
	j.UI.Say(fmt.Sprintf("Source AMI: %s %s", aws.ToString(image.ImageId), aws.ToString(image.Name)))
	keySource.Put(j.State, image)
	keyData.Put(j.State, sourceData(f.site.region, image))
	return nil
}

func (f *flow) findPlace(ctx context.Context, j *step.Job) error {
	p, err := f.site.findPlace(ctx, f.ec2, f.ec2, f.config.NetworkConfig, f.config.SSHInterface, f.config.instanceTypes())
	if err != nil {
		return err
	}
	n := p.subnets[0]
	j.UI.Say(fmt.Sprintf("Network: %s, %s in %s", p.vpc, aws.ToString(n.SubnetId), aws.ToString(n.AvailabilityZone)))
	keyPlace.Put(j.State, p)
	return nil
}

func (f *flow) checkTypes(ctx context.Context, j *step.Job) error {
	image, err := keySource.Get(j.State)
	if err != nil {
		return err
	}
	return f.site.checkTypes(ctx, f.ec2, image, f.config.instanceTypes())
}

// makeKey makes the key of this build, or reads the template's.
func (f *flow) makeKey(ctx context.Context, j *step.Job) error {
	keyKeyName.Put(j.State, f.comm.SSHKeyPairName)
	if !f.config.temporaryKey() {
		private, err := f.comm.ReadSSHPrivateKeyFile()
		f.comm.SSHPrivateKey = private
		return err
	}
	pair, err := newKey(f.comm.SSHTemporaryKeyPairType, f.comm.SSHTemporaryKeyPairBits)
	if err != nil {
		return err
	}
	f.comm.SSHPrivateKey, f.comm.SSHPublicKey = pair.Private, pair.Public
	if f.config.PackerDebug {
		if err := f.showKey(j); err != nil {
			return err
		}
	}
	if f.config.InstanceConnect {
		return nil // pushed before each login
	}
	name := f.comm.SSHTemporaryKeyPairName
	if name == "" {
		name = f.site.name()
	}
	name, err = f.site.importKey(ctx, f.ec2, name, pair.Public)
	if err != nil {
		return err
	}
	keyKeyName.Put(j.State, name)
	return nil
}

// showKey writes the private key for whoever debugs the build.
func (f *flow) showKey(j *step.Job) error {
	path, err := filepath.Abs("rightimage_" + f.config.PackerBuildName + ".pem")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, f.comm.SSHPrivateKey, 0o600); err != nil {
		return err
	}
	j.Owe("private key "+path, func(context.Context) error { return os.Remove(path) })
	j.UI.Say("Debugging: the private key is in " + path)
	return nil
}

// openGroup makes the temporary security group, unless the template names
// groups or nothing connects.
func (f *flow) openGroup(ctx context.Context, j *step.Job) error {
	p, err := keyPlace.Get(j.State)
	if err != nil {
		return err
	}
	keyGroups.Put(j.State, p.groups)
	if len(p.groups) > 0 || !f.config.withSSH() {
		return nil
	}
	cidrs, err := f.site.openTo(ctx, f.echo, f.config.NetworkConfig, p)
	if err != nil {
		return err
	}
	if len(cidrs) > 0 {
		j.UI.Say(fmt.Sprintf("Security group: port %d is open to %v", f.comm.SSHPort, cidrs))
	}
	id, err := f.site.makeGroup(ctx, f.ec2, p.vpc, f.comm.SSHPort, cidrs)
	if err != nil {
		return err
	}
	keyGroups.Put(j.State, []string{id})
	return nil
}

func (f *flow) makeProfile(ctx context.Context, j *step.Job) error {
	keyProfile.Put(j.State, f.config.IamInstanceProfile)
	if f.config.TemporaryProfilePolicy == "" {
		return nil
	}
	name, err := f.site.makeProfile(ctx, f.iam, f.config.TemporaryProfilePolicy)
	if err != nil {
		return err
	}
	keyProfile.Put(j.State, name)
	return nil
}

// launch starts the build machine and waits until it runs.
func (f *flow) launch(ctx context.Context, j *step.Job) error {
	m, err := f.machine(j)
	if err != nil {
		return err
	}
	if f.config.TemporaryProfilePolicy != "" {
		if err := f.site.awaitProfile(ctx, f.ec2, m); err != nil {
			return err
		}
	}
	start := f.site.launch
	if f.config.spot() {
		start = f.site.launchSpot
	}
	id, err := start(ctx, f.ec2, m)
	if err != nil {
		return err
	}
	j.UI.Say("Build machine: " + id)
	keyInstance.Put(j.State, id)
	i, err := f.site.await(ctx, f.ec2, id, types.InstanceStateNameRunning)
	if err != nil {
		return err
	}
	f.site.note(i)
	data, err := keyData.Get(j.State)
	if err != nil {
		return err
	}
	data = maps.Clone(data)
	data["InstanceID"] = id
	keyData.Put(j.State, data)
	given := forProvisioners(data)
	given["Everybody"] = strconv.FormatBool(f.config.Everybody()) // for our provisioner
	j.State.Put("generated_data", given)
	return nil
}

// machine puts together what the steps so far have found and made.
func (f *flow) machine(j *step.Job) (machine, error) {
	var m machine
	image, err := keySource.Get(j.State)
	if err != nil {
		return m, err
	}
	if m.place, err = keyPlace.Get(j.State); err != nil {
		return m, err
	}
	if m.keyName, err = keyKeyName.Get(j.State); err != nil {
		return m, err
	}
	if m.groups, err = keyGroups.Get(j.State); err != nil {
		return m, err
	}
	if m.profile, err = keyProfile.Get(j.State); err != nil {
		return m, err
	}
	data, err := keyData.Get(j.State)
	if err != nil {
		return m, err
	}
	tags, err := f.filled("run_tags", f.config.RunTags, f.config.RunTag.CopyOn, data)
	if err != nil {
		return m, err
	}
	volumeTags, err := f.filled("run_volume_tags", f.config.RunVolumeTags, f.config.RunVolumeTag.CopyOn, data)
	if err != nil {
		return m, err
	}
	if m.userData, err = f.config.userData(); err != nil {
		return m, err
	}
	m.image, m.types, m.token = aws.ToString(image.ImageId), f.config.instanceTypes(), f.site.name()
	m.devices = rootDevice(f.config.Config, image, f.config.LaunchMappings)
	m.instance = f.site.tagged(types.ResourceTypeInstance, tags)
	m.volume = f.site.tagged(types.ResourceTypeVolume, volumeTags)
	m.iface = f.site.tagged(types.ResourceTypeNetworkInterface, nil)
	m.strategy = types.SpotAllocationStrategy(f.config.SpotAllocationStrategy)
	if f.config.SpotPrice != autoPrice {
		m.maxPrice = f.config.SpotPrice
	}
	return m, nil
}

// filled fills in the templates of tags.
func (f *flow) filled(option string, tags map[string]string, more func(*map[string]string) []error, data map[string]any) (map[string]string, error) {
	all := maps.Clone(tags)
	if errs := more(&all); len(errs) > 0 {
		return nil, fmt.Errorf("%s: %w", option, errs[0])
	}
	ctx := f.config.ctx
	ctx.Data = data
	out := map[string]string{}
	for _, k := range sortedKeys(all) {
		key, err := interpolate.Render(k, &ctx)
		if err == nil {
			out[key], err = interpolate.Render(all[k], &ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %q: %w", option, k, err)
		}
	}
	return out, nil
}
