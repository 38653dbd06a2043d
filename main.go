// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command packer-plugin-rightimage is the Packer plugin: the sources
// "rightimage-disk" and "rightimage-ebs", the provisioner "rightimage", the
// post-processor "rightimage-publish" and the data source "rightimage-ami".
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hashicorp/packer-plugin-sdk/plugin"
	pluginversion "github.com/hashicorp/packer-plugin-sdk/version"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/builder/ebs"
	"github.com/rightimage/packer-plugin-rightimage/datasource"
	"github.com/rightimage/packer-plugin-rightimage/internal/run"
	"github.com/rightimage/packer-plugin-rightimage/postprocessor"
	"github.com/rightimage/packer-plugin-rightimage/provisioner"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

func main() {
	// Packer may die first, with the terminal or killed. Then neither the hang-up
	// nor a log line into nowhere may end this process: it still has to undo.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE)
	run.KeepInherited()

	fromDisk, fromAMI, publisher := new(disk.Builder), new(ebs.Builder), new(postprocessor.PostProcessor)
	set := plugin.NewSet()
	set.SetVersion(pluginversion.NewPluginVersion(version.Package(), version.Prerelease(), ""))
	set.RegisterBuilder("disk", fromDisk)
	set.RegisterBuilder("ebs", fromAMI)
	set.RegisterProvisioner(plugin.DEFAULT_NAME, new(provisioner.Provisioner))
	set.RegisterPostProcessor("publish", publisher)
	set.RegisterDatasource("ami", new(datasource.Datasource))
	err := set.Run()
	fromDisk.Close()
	fromAMI.Close()
	publisher.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
