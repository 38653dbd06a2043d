// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// Role is one kind of server that the story makes of the one image.
type Role struct {
	Name     string   // of the server
	Template string   // ServerTemplate name
	File     string   // its YAML, below example/servertemplates
	UserData string   // form of the user-data: query or mime
	Image    string   // AMI id; the story's own when empty
	Inputs   []string // NAME=form:value
	Secrets  map[string]string
}

// Roles are the two servers of the demo.
func Roles() []Role {
	return []Role{{
		Name: "db-1", Template: "Example database", File: "database/database.yml", UserData: "query",
		Inputs:  []string{"DB_PASSWORD=cred:EXAMPLE_DB_PASSWORD"},
		Secrets: map[string]string{"EXAMPLE_DB_PASSWORD": "correct-horse-battery"},
	}, {
		Name: "web-1", Template: "Example web application", File: "webapp/webapp.yml", UserData: "mime",
		Inputs: []string{"SITE_TITLE=text:Made of a RightImage"},
	}}
}

// Story is the main job of the project, from a disk to enrolled servers.
type Story struct {
	*Env
	Platform *Platform
	Cloud    *Cloud
	Base     string
	Image    string // AMI id
	Snapshot string // its snapshot

	mu       sync.Mutex
	launched map[string]string // server name → instance id
	times    []StepTime
}

// StepTime is how long one step of the story took.
type StepTime struct {
	Step string
	Took time.Duration
}

// NewStory prepares a story in an Env.
func NewStory(e *Env) *Story { return &Story{Env: e, launched: map[string]string{}} }

// Steps lists what happens, in order.
func (s *Story) Steps() []struct {
	Name string
	Do   func(context.Context) error
} {
	return []struct {
		Name string
		Do   func(context.Context) error
	}{
		{"base disk", s.baseDisk},
		{"platform and local cloud", s.startServers},
		{"packer build and publish", s.buildImage},
		{"servers on the platform", s.createServers},
		{"launch, install, enrol, boot scripts", s.launchServers},
		{"audit trail", s.showAudit},
		{"decommission and terminate", s.terminate},
	}
}

// Run plays all steps and keeps their times.
func (s *Story) Run(ctx context.Context) error {
	for _, step := range s.Steps() {
		s.Say("== %s", step.Name)
		begin := time.Now()
		err := step.Do(ctx)
		s.times = append(s.times, StepTime{step.Name, time.Since(begin)})
		if err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
	}
	return nil
}

// Times are the steps done so far.
func (s *Story) Times() []StepTime { return s.times }

func (s *Story) baseDisk(ctx context.Context) (err error) {
	s.Base, err = s.BaseDisk(ctx, Systemd)
	return err
}

func (s *Story) startServers(ctx context.Context) (err error) {
	if s.Platform, err = s.StartPlatform(ctx); err != nil {
		return err
	}
	s.Say("platform: https://%s", s.Platform.Addr)
	if s.Cloud, err = s.StartCloud(ctx, s.Platform.Addr); err != nil {
		return err
	}
	s.Say("local cloud: %s", s.Cloud.Endpoint)
	return nil
}

func (s *Story) buildImage(ctx context.Context) error {
	catalogue, err := s.Build(ctx, s.DemoTemplate(), filepath.Join(s.Work, "image"), s.Cloud.Env(),
		map[string]string{"base_disk": s.Base, "platform_ca_file": s.Platform.CA, "regions": `["` + Region + `"]`})
	if err != nil {
		return err
	}
	image, ok := catalogue.Images[Region]
	if !ok || len(image.SnapshotIDs) == 0 {
		return fmt.Errorf("the catalogue names no image in %s", Region)
	}
	s.Image, s.Snapshot = image.ImageID, image.SnapshotIDs[0]
	s.Say("AMI: %s (snapshot %s, %s)", s.Image, s.Snapshot, Region)
	return nil
}

func (s *Story) createServers(ctx context.Context) error {
	if err := s.Attachments(ctx); err != nil {
		return err
	}
	for _, r := range Roles() {
		if err := s.CreateServer(ctx, r); err != nil {
			return err
		}
		s.Say("platform: server %q from ServerTemplate %q", r.Name, r.Template)
	}
	return nil
}

// CreateServer uploads the role's ServerTemplate and makes its server.
func (s *Story) CreateServer(ctx context.Context, r Role) error {
	if _, err := s.Platform.Admin(ctx, "server-template", "upload", filepath.Join(s.Repo, "example", "servertemplates", r.File)); err != nil {
		return err
	}
	for name, value := range r.Secrets {
		if err := s.Platform.SetCredential(ctx, name, value); err != nil {
			return err
		}
	}
	args := []string{"server", "create", r.Name, "--server-template", r.Template}
	for _, in := range r.Inputs {
		args = append(args, "--input", in)
	}
	_, err := s.Platform.Admin(ctx, args...)
	return err
}

// LaunchServer launches an instance with the server's user-data.
func (s *Story) LaunchServer(ctx context.Context, r Role) error {
	userData, err := s.Platform.Admin(ctx, "server", "user-data", r.Name, "--form", r.UserData)
	if err != nil {
		return err
	}
	id, err := s.Cloud.Launch(ctx, r.Name, cmp.Or(r.Image, s.Image), userData)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.launched[r.Name] = id
	s.mu.Unlock()
	if _, err := s.Platform.Admin(ctx, "server", "expect", r.Name, id); err != nil {
		return err
	}
	s.Say("local cloud: instance %s boots for %q with %s user-data", id, r.Name, r.UserData)
	return nil
}

func (s *Story) launchServers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for _, r := range Roles() {
		if err := s.LaunchServer(ctx, r); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	errs := make([]error, len(Roles()))
	for i, r := range Roles() {
		all.Go(func() { errs[i] = s.Platform.WaitState(ctx, r.Name, "operational") })
	}
	all.Wait()
	for _, r := range Roles() {
		errs = append(errs, s.Cloud.KeepConsole(s.InstanceOf(r.Name), r.Name))
	}
	return errors.Join(errs...)
}

func (s *Story) showAudit(ctx context.Context) error {
	for _, r := range Roles() {
		out, err := s.Platform.Admin(ctx, "audit", "list", "--server", r.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "\naudit trail of %q:\n%s\n", r.Name, out)
	}
	return nil
}

func (s *Story) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	errs := make([]error, len(Roles()))
	for i, r := range Roles() {
		all.Go(func() { errs[i] = s.Cloud.Terminate(ctx, s.InstanceOf(r.Name)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Prepare plays the story up to the servers on the platform: what a test needs
// before it launches instances of its own.
func (s *Story) Prepare(ctx context.Context) error {
	for _, do := range []func(context.Context) error{s.baseDisk, s.startServers, s.buildImage, s.createServers} {
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// InstanceOf is the instance that was launched for a server.
func (s *Story) InstanceOf(server string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.launched[server]
}
