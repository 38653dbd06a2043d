// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// cloudInitConfig makes cloud-init take the service for EC2 and do what an
// image for EC2 has it do.
const cloudInitConfig = `datasource_list: [Ec2]
datasource: {Ec2: {strict_id: false, metadata_urls: ["http://169.254.169.254"], max_wait: 10, timeout: 5}}
locale: C.UTF-8
`

// cloudInitRows runs the distribution's cloud-init over a throw-away layer of
// this machine's files.
func (b *bench) cloudInitRows(ctx context.Context) error {
	program, err := exec.LookPath("cloud-init")
	if err != nil {
		return errors.New("it is not installed on this machine")
	}
	if os.Getenv(insideEnv) != "network" {
		return errors.New("it needs root, for a network and files of its own")
	}
	root, err := b.layer()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(root, unix.MNT_DETACH) }()
	config := filepath.Join(root, "etc/cloud/cloud.cfg.d/99_bench.cfg")
	if err := errors.Join(os.MkdirAll(filepath.Dir(config), 0o755), os.WriteFile(config, []byte(cloudInitConfig), 0o600)); err != nil {
		return err
	}
	// Without a name server it would wait for one.
	resolver := filepath.Join(root, "etc/resolv.conf")
	if err := errors.Join(os.RemoveAll(resolver), os.WriteFile(resolver, []byte("nameserver 127.0.0.1\n"), 0o600)); err != nil {
		return err
	}
	data := "#!/bin/sh\ntrue\n"
	b.s.userData.Store(&data)
	// In a container it does not look at the firmware and asks without a token.
	b.s.version1.Store(true)
	defer b.s.version1.Store(false)
	for _, boot := range []string{"first", "later"} {
		var crawl, all cost
		for i, args := range [][]string{{"init", "--local"}, {"init"}, {"modules", "--mode=config"}, {"modules", "--mode=final"}} {
			c, err := b.process(ctx, "chroot", append([]string{root, program}, args...)...)
			var exit *exec.ExitError
			if err != nil && (i < 2 || !errors.As(err, &exit)) { // of its modules some need a real machine
				return err
			}
			if all = all.plus(c); i == 1 {
				crawl = all
			}
		}
		b.print("cloud-init, "+boot+" boot: init --local, init", crawl)
		b.print("cloud-init, "+boot+" boot: all stages", all)
		for _, gone := range []string{"run/cloud-init", "var/lib/cloud/instance/obj.pkl"} {
			if err := os.RemoveAll(filepath.Join(root, gone)); err != nil {
				return err
			}
		}
	}
	return nil
}

// layer mounts this machine's files with a layer above that takes all changes.
func (b *bench) layer() (string, error) {
	memory := filepath.Join(b.work, "layer")
	if err := os.MkdirAll(memory, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("mounts of our own: %w", err)
	}
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("mount a file system in memory: %w", err)
	}
	upper, scratch, root := memory+"/upper", memory+"/work", memory+"/root"
	for _, dir := range []string{upper, scratch, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+scratch); err != nil {
		return "", fmt.Errorf("mount a layer over /: %w", err)
	}
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := unix.Mount("/"+dir, filepath.Join(root, dir), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return "", fmt.Errorf("show /%s there: %w", dir, err)
		}
	}
	if err := unix.Mount("tmpfs", filepath.Join(root, "run"), "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("an empty /run: %w", err)
	}
	return root, nil
}
