// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package ebs is the builder "rightimage-ebs": it launches a build machine from
// a source AMI, provisions it, and makes an AMI of it.
package ebs

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
	"github.com/rightimage/packer-plugin-rightimage/internal/step"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
)

// BuilderID identifies artifacts of this builder to post-processors.
const BuilderID = "rightimage.ebs"

// Builder is the source "rightimage-ebs".
type Builder struct {
	config Config

	// Running ends a build when Packer is gone: nobody else would terminate the
	// machine.
	step.Running
}

var _ packersdk.Builder = (*Builder)(nil)

// ConfigSpec returns the options for HCL2 templates.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec { return b.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the template's options, and reports all problems at
// once.
func (b *Builder) Prepare(raws ...any) (variables, warnings []string, err error) {
	problems := b.config.decode(raws...)
	problems = append(problems, b.config.prepare()...)
	packersdk.LogSecretFilter.Set(b.config.secrets()...)
	return generated(), nil, collect(problems)
}

// Run builds the image. Whatever is made on the way and is no product is removed
// when the build ends, however it ends.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	ctx, end := b.Begin(ctx)
	defer end()
	factory, err := awsx.New(ctx, b.config.AWS())
	if err != nil {
		return nil, err
	}
	return newFlow(ctx, &b.config, factory, ui).run(ctx, ui, hook)
}

// run runs the steps to their end.
func (f *flow) run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	state := new(multistep.BasicStateBag)
	state.Put("ui", ui)
	state.Put("hook", hook)
	step.Run(ctx, f.steps(), f.config.PackerConfig, ui, state)
	if err := step.Outcome(ctx, state); err != nil {
		for _, more := range []error{f.discard(state), f.leftover} {
			if more != nil {
				err = fmt.Errorf("%w\n%w", err, more)
			}
		}
		return nil, err
	}
	return f.artifact(state)
}

// newFlow makes the clients of one run. ctx is the life of the build.
func newFlow(ctx context.Context, c *Config, factory *awsx.Factory, ui packersdk.Ui) *flow {
	region := c.Targets()[0]
	f := &flow{
		config: c, comm: c.Comm, life: ctx, factory: factory,
		ec2: factory.EC2(region), iam: factory.IAM(region), parameters: factory.SSM(region), sessions: factory.SSM(region),
		keys: factory.InstanceConnect(region), echo: &http.Client{}, pause: tunnelPause,
		site: &site{
			region: region, build: uuid.NewString(), created: time.Now(), owed: &ledger.Ledger{}, fresh: freshTime,
			waiter: wait.Waiter{Delay: time.Duration(c.Polling.DelaySeconds) * time.Second, Attempts: c.Polling.MaxAttempts},
			local:  localcloud.OnThisMachine(factory.Endpoint(region)), explain: factory.Explain,
			command: func(service, verb string, args ...string) string {
				return factory.Command(service, region, verb, args...)
			},
			say: func(format string, args ...any) { ui.Say(fmt.Sprintf(format, args...)) },
		},
	}
	f.connect = &connecting{f: f}
	return f
}

// ssmEndpoint is what the session plugin is told.
func (f *flow) ssmEndpoint() string {
	if url := f.factory.Endpoint(f.site.region); url != "" {
		return url
	}
	domain := "amazonaws.com"
	if len(f.site.region) > 3 && f.site.region[:3] == "cn-" {
		domain += ".cn"
	}
	return "https://ssm." + f.site.region + "." + domain
}
