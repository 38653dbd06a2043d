// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Command packer-plugin-rightimage is the Packer plugin: the source
// "rightimage-disk" and the provisioner "rightimage".
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/plugin"
	pluginversion "github.com/hashicorp/packer-plugin-sdk/version"

	"github.com/rightimage/packer-plugin-rightimage/builder/disk"
	"github.com/rightimage/packer-plugin-rightimage/provisioner"
	"github.com/rightimage/packer-plugin-rightimage/version"
)

func main() {
	set := plugin.NewSet()
	set.SetVersion(pluginversion.NewPluginVersion(version.Version, version.Prerelease, ""))
	set.RegisterBuilder("disk", new(disk.Builder))
	set.RegisterProvisioner(plugin.DEFAULT_NAME, new(provisioner.Provisioner))
	if err := set.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
