// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package provisioner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// hooksScript lists the hooks with their content, and the links that enable
// them, to tell whether registering changed anything.
const hooksScript = `
for f in /etc/systemd/system/right* /etc/systemd/system/*.wants/right* /etc/init.d/right* /etc/rc*.d/*right* /etc/rc.d/rc*.d/*right*; do
	if [ -L "$f" ]; then echo "$f -> $(readlink "$f")"
	elif [ -f "$f" ]; then echo "$f $(sha256sum < "$f")"
	fi
done
exit 0
`

// register lets bootstrap write and enable its own hooks.
func register(ctx context.Context, g Guest, ui Reporter) ([]string, error) {
	before, err := g.Run(ctx, hooksScript)
	if err = errors.Join(err, before.failure()); err != nil {
		return nil, err
	}
	out, err := g.Run(ctx, bootstrapPath+" register --image")
	if err = errors.Join(err, out.failure()); err != nil {
		return nil, fmt.Errorf("register the boot hooks: %w", err)
	}
	sayLines(ui, out.Stdout)
	after, err := g.Run(ctx, hooksScript)
	if err = errors.Join(err, after.failure()); err != nil {
		return nil, err
	}
	return newLines("hook ", before.Stdout, after.Stdout), nil
}

// newLines returns the first word of each line of after that before lacks.
func newLines(prefix, before, after string) []string {
	old := map[string]bool{}
	for line := range strings.Lines(before) {
		old[line] = true
	}
	var out []string
	for line := range strings.Lines(after) {
		if !old[line] {
			name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			out = append(out, prefix+name)
		}
	}
	return out
}

func sayLines(ui Reporter, text string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			ui.Say("  " + line)
		}
	}
}

// installPackage installs RightLink now, unless this version is there already.
// The package's post_install.sh enables the later stages.
func installPackage(ctx context.Context, g Guest, p *Package, ui Reporter) ([]string, error) {
	m := packageName().FindStringSubmatch(p.Name)
	if m == nil {
		return nil, fmt.Errorf("package %q has no valid name", p.Name)
	}
	version, deb, rpm := m[1], m[3] == "deb", m[3] == "rpm"
	probe := `/opt/rightscale/bin/rightlink version 2>/dev/null`
	if deb {
		probe = `dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' rightlink 2>/dev/null`
	}
	if rpm {
		probe = `rpm -q --qf '%{VERSION}\n' rightlink 2>/dev/null | tr '~' '-'`
	}
	out, err := g.Run(ctx, probe)
	if err != nil {
		return nil, err
	}
	if fields := strings.Fields(out.Stdout); out.Code == 0 && len(fields) > 0 && fields[len(fields)-1] == version && (!deb || fields[0] == "ii") {
		return nil, nil
	}
	// Kept under root's own directory, since the cache may be switched off.
	staged := "/root/." + p.Name
	if err := g.Upload(ctx, staged, bytes.NewReader(p.Data), 0o600); err != nil {
		return nil, err
	}
	script := `tar -C /opt -xzf "$1" && sh /opt/rightscale/bin/post_install.sh`
	if deb {
		script = `DEBIAN_FRONTEND=noninteractive dpkg -i "$1" </dev/null`
	}
	if rpm {
		script = `rpm -U --oldpackage --replacepkgs --nosignature "$1" </dev/null`
	}
	out, err = g.Run(ctx, fmt.Sprintf("set -- %s; { %s; }; code=$?; rm -f \"$1\"; exit $code", quote(staged), script))
	if err = errors.Join(err, out.failure()); err != nil {
		return nil, fmt.Errorf("install %s: %w", p.Name, err)
	}
	sayLines(ui, out.Stdout)
	return []string{"package " + strings.TrimSuffix(p.Name, "."+m[3])}, nil
}
