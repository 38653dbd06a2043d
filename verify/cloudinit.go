// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"strings"
)

// cloudInit reports whether cloud-init is there and will run.
func (im *image) cloudInit() bool {
	if !im.has("/usr/bin/cloud-init", "/usr/local/bin/cloud-init") || im.Exists("/etc/cloud/cloud-init.disabled") {
		return false
	}
	for _, l := range im.kernelCommandLines() {
		if strings.Contains(l.text, "cloud-init=disabled") {
			return false
		}
	}
	return true
}

// cloudConfigs are the configuration files of cloud-init, the last one first.
func (im *image) cloudConfigs() []string {
	files := append([]string{"/etc/cloud/cloud.cfg"}, im.Glob("/etc/cloud/cloud.cfg.d/*.cfg")...)
	for i, j := 0, len(files)-1; i < j; i, j = i+1, j-1 {
		files[i], files[j] = files[j], files[i]
	}
	return files
}

// cloudModule reports whether a module is listed: as "ssh" or as "- ssh".
func (im *image) cloudModule(name string) bool {
	for _, p := range im.cloudConfigs() {
		for _, l := range im.lines(p) {
			if strings.Trim(strings.TrimPrefix(l.text, "-"), ` []"'`) == name || strings.HasPrefix(l.text, "- ["+name+",") {
				return true
			}
		}
	}
	return false
}

// cloudSays reports whether a key has that value in the file that counts.
func (im *image) cloudSays(key, value string) bool {
	for _, p := range im.cloudConfigs() {
		for _, l := range im.lines(p) {
			if k, v := l.setting(); k == key {
				return strings.EqualFold(strings.Trim(v, "'\""), value)
			}
		}
	}
	return false
}

// ec2Allowed reports whether cloud-init looks for EC2.
func (im *image) ec2Allowed() (why string, ok bool) {
	for _, p := range im.cloudConfigs() {
		text := im.Text(p)
		for _, l := range parseLines(p, text) {
			k, v := l.setting()
			if k != "datasource_list" {
				continue
			}
			if v == "" { // a list in lines of its own
				_, v, _ = strings.Cut(text, "datasource_list:")
			}
			if !strings.Contains(v, "Ec2") {
				return p + ": datasource_list without Ec2", false
			}
			return "", true
		}
	}
	for _, l := range im.lines("/etc/cloud/ds-identify.cfg") {
		if k, v := l.setting(); k == "policy" && strings.HasPrefix(v, "disabled") {
			return "/etc/cloud/ds-identify.cfg: policy " + v, false
		}
	}
	return "", true
}
