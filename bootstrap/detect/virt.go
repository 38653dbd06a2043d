// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package detect

import (
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap/cloud"
)

// dmi reads what the firmware says about the machine.
func (t tree) dmi() cloud.Hints {
	id := func(name string) string { return t.line("sys/class/dmi/id/" + name) }
	h := cloud.Hints{
		SysVendor: id("sys_vendor"), ProductName: id("product_name"), ProductVersion: id("product_version"), ProductUUID: id("product_uuid"),
		BIOSVendor: id("bios_vendor"), BIOSVersion: id("bios_version"), BoardVendor: id("board_vendor"), BoardAssetTag: id("board_asset_tag"),
		ChassisAssetTag: id("chassis_asset_tag"), HypervisorUUID: t.line("sys/hypervisor/uuid"),
	}
	h.LocalHints(t.root)
	return h
}

// virt names the hypervisor in the words of systemd-detect-virt.
func (t tree) virt(h cloud.Hints) string {
	if strings.HasSuffix(h.ProductName, ".metal") && strings.HasPrefix(h.SysVendor, "Amazon") {
		return "none"
	}
	for _, v := range []struct{ text, prefix, name string }{
		{h.SysVendor, "Amazon EC2", "amazon"},
		{h.ProductName, "Google Compute Engine", "google"},
		{h.ProductName, "KVM", "kvm"},
		{h.ProductName, "OpenStack", "kvm"},
		{h.ProductName, "VirtualBox", "oracle"},
		{h.SysVendor, "innotek GmbH", "oracle"},
		{h.SysVendor, "VMware", "vmware"},
		{h.SysVendor, "QEMU", "qemu"},
		{h.BIOSVendor, "Xen", "xen"},
		{h.SysVendor, "Xen", "xen"},
		{h.BIOSVendor, "Bochs", "bochs"},
		{h.BIOSVendor, "BHYVE", "bhyve"},
		{h.SysVendor, "Parallels", "parallels"},
		{h.BIOSVendor, "SeaBIOS", "qemu"},
		{h.SysVendor, "Apple Virtualization", "apple"},
	} {
		if strings.HasPrefix(v.text, v.prefix) {
			return v.name
		}
	}
	switch {
	case h.SysVendor == "Microsoft Corporation" && h.ProductName == "Virtual Machine":
		return "microsoft"
	case t.line("sys/hypervisor/type") == "xen":
		return "xen"
	case hypervisorFlag(t.text("proc/cpuinfo")):
		return "vm-other"
	}
	return "none"
}

// hypervisorFlag looks for the CPU flag that every x86 hypervisor sets.
func hypervisorFlag(cpuinfo string) bool {
	for l := range strings.Lines(cpuinfo) {
		if strings.HasPrefix(l, "flags") {
			return strings.Contains(l+" ", " hypervisor ") || strings.HasSuffix(strings.TrimSpace(l), " hypervisor")
		}
	}
	return false
}
