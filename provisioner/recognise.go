// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// facts are what the provisioner needs to know about a guest.
type facts struct {
	Machine string            // uname -m
	Arch    string            // amd64 or arm64, as in package names
	OS      map[string]string // os-release
	Init    string            // systemd, upstart or sysvinit
	Dpkg    bool
	RPM     bool  // where there is no dpkg
	FreeKiB int64 // of the root file system; -1 when unknown
}

// String describes the guest for people.
func (f facts) String() string {
	name := f.OS["PRETTY_NAME"]
	if name == "" {
		name = strings.TrimSpace(f.OS["ID"] + " " + f.OS["VERSION_ID"])
	}
	if name == "" {
		name = "unknown system"
	}
	return fmt.Sprintf("%s, %s, %s", name, f.Arch, f.Init)
}

// recogniseScript prints facts as NAME=value lines. In a chroot no init runs,
// so that it looks at files only.
const recogniseScript = `
echo "machine=$(uname -m)"
for f in /etc/os-release /usr/lib/os-release; do
	[ -r "$f" ] && { sed -n 's/^[A-Z]/os.&/p' "$f"; break; }
done
init=$(readlink -f /sbin/init 2>/dev/null)
case $init in
*systemd*) echo init=systemd ;;
*upstart*) echo init=upstart ;;
*) if [ -d /etc/init ] && command -v initctl >/dev/null 2>&1; then echo init=upstart; else echo init=sysvinit; fi ;;
esac
if command -v dpkg >/dev/null 2>&1; then echo dpkg=yes; elif command -v rpm >/dev/null 2>&1; then echo rpm=yes; fi
echo "free=$(df -Pk / 2>/dev/null | tail -n 1)"
exit 0
`

func recognise(ctx context.Context, g Guest) (facts, error) {
	out, err := g.Run(ctx, recogniseScript)
	if err = errors.Join(err, out.failure()); err != nil {
		return facts{}, fmt.Errorf("recognise the guest: %w", err)
	}
	f := parseFacts(out.Stdout)
	switch f.Machine {
	case "x86_64", "amd64":
		f.Arch = "amd64"
	case "aarch64", "arm64":
		f.Arch = "arm64"
	default:
		return f, fmt.Errorf("the guest's machine type is %q; RightImages are made for x86_64 and aarch64", f.Machine)
	}
	return f, nil
}

func parseFacts(text string) facts {
	f := facts{OS: map[string]string{}, FreeKiB: -1}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch {
		case name == "machine":
			f.Machine = value
		case name == "init":
			f.Init = value
		case name == "dpkg":
			f.Dpkg = true
		case name == "rpm":
			f.RPM = true
		case name == "free":
			// Device, size, used, free, percent, mount point.
			if fields := strings.Fields(value); len(fields) >= 4 {
				if n, err := strconv.ParseInt(fields[len(fields)-3], 10, 64); err == nil {
					f.FreeKiB = n
				}
			}
		case strings.HasPrefix(name, "os."):
			f.OS[strings.TrimPrefix(name, "os.")] = strings.Trim(value, `"'`)
		}
	}
	return f
}
