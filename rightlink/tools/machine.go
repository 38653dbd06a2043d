// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tools

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/internal/atomicfile"
	"github.com/rightimage/packer-plugin-rightimage/internal/launchdata"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/features"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

const configUsage = `rs_config shows and changes the agent's switches in
/etc/rightscale.d/right_link/features.yml.

usage: rs_config --list | --get NAME | --set NAME VALUE

  decommission.timeout         seconds for the decommission scripts (180)
  managed_login.enable         on: the platform says who may log in (off)
  package_repositories.freeze  on or off; kept for tools of RightLink 6
  motd.update                  on or off; kept for tools of RightLink 6

Names may be written with _ instead of the dot, as in decommission_timeout.
`

// canonical is the name of a switch, also from its older form.
func canonical(name string) string {
	for _, n := range features.Names() {
		if name == strings.ReplaceAll(n, ".", "_") {
			return n
		}
	}
	return name
}

func runConfig(c *call) error {
	var list bool
	var get, set string
	c.yes(&list, "list", "l")
	c.text(&get, "get", "g")
	c.text(&set, "set", "s")
	if err := c.parse(); err != nil {
		return err
	}
	path := c.Root.Features()
	f, err := features.Load(path)
	switch {
	case list && get == "" && set == "" && c.set.NArg() == 0:
		for _, name := range features.Names() {
			fmt.Fprintln(c.Stdout, name+" "+f.Value(name))
		}
		return err
	case get != "" && !list && set == "" && c.set.NArg() == 0:
		name := canonical(get)
		for _, n := range features.Names() {
			if n == name {
				fmt.Fprintln(c.Stdout, f.Value(name))
				return err
			}
		}
		return c.wrong("there is no switch %q", get)
	case set != "" && !list && get == "" && c.set.NArg() == 1:
		return c.configure(path, canonical(set), c.set.Arg(0))
	}
	return c.wrong("want --list, --get NAME or --set NAME VALUE")
}

func (c *call) configure(path, name, value string) error {
	if err := features.Set(path, name, value); err != nil {
		return err
	}
	if name != features.ManagedLogin {
		return nil // read when it is needed
	}
	f, err := features.Load(path)
	if err != nil {
		return err
	}
	_, err = c.ask("PUT", "/rll/login/control?enable_login="+f.Value(name), "")
	if errors.Is(err, errNotRunning) {
		return nil // it will see the file when it starts
	}
	return err
}

const connectUsage = `rs_connect connects a machine that was launched without platform settings.

usage: rs_connect --attach URL [--allow-http] [--force] [--cloud NAME]

  -a, --attach URL  where the user-data is, which must hold RS_rn_id; https only,
                    or http to this machine itself
      --allow-http  http to other machines too; who is in between reads the token
  -f, --force       also if this machine has been enrolled before
  -c, --cloud NAME  write this name to /etc/rightscale.d/cloud (default: as it is,
                    else none)
`

var cloudName = regexp.MustCompile(`^[a-z0-9_-]+$`)

func runConnect(c *call) error {
	var source, cloud string
	var force, allowHTTP bool
	c.yes(&allowHTTP, "allow-http", "")
	c.text(&source, "attach", "a")
	c.text(&cloud, "cloud", "c")
	c.yes(&force, "force", "f")
	if err := c.parseAll(); err != nil {
		return err
	}
	if source == "" {
		return c.wrong("--attach is missing")
	}
	if cloud != "" && !cloudName.MatchString(cloud) {
		return c.wrong("--cloud %q is not the name of a cloud", cloud)
	}
	if _, err := os.Stat(c.Root.State()); err == nil && !force {
		return fmt.Errorf("this machine has been enrolled before (%s); use --force to connect it anew", c.Root.State())
	}
	body, err := c.fetch(source, allowHTTP)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(c.Root.Cloud()); cloud == "" && err == nil {
		cloud = strings.TrimSpace(string(old))
	}
	if cloud == "" {
		cloud = "none"
	}
	if err := atomicfile.WriteMkdir(c.Root.Cloud(), []byte(cloud+"\n"), 0o444, 0o755); err != nil {
		return err
	}
	if err := atomicfile.WriteMkdir(c.Root.Join("var/spool/rightscale/user-data.txt"), body, 0o600, 0o700); err != nil {
		return err
	}
	return c.services("restart", "rightscale", "rightlink")
}

// fetch gets the user-data by the same rules as "rightimage install --connect";
// the platform's own authority counts too, if the image has it.
func (c *call) fetch(source string, allowHTTP bool) ([]byte, error) {
	ca, err := os.ReadFile(c.Root.CA())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	body, err := launchdata.Get(c.ctx, source, launchdata.Options{AllowHTTP: allowHTTP, CA: ca})
	switch {
	case errors.Is(err, launchdata.ErrClear):
		return nil, c.wrong("--attach: %w; --allow-http takes the risk", err)
	case errors.Is(err, launchdata.ErrAddress):
		return nil, c.wrong("--attach: %w", err)
	case err != nil:
		return nil, fmt.Errorf("--attach: %w", err)
	case !strings.Contains(strings.ToLower(string(body)), "rs_rn_id"):
		return nil, errors.New("--attach: what the URL leads to does not hold RS_rn_id")
	}
	return body, nil
}

const reenrollUsage = `rs_reenroll makes the agent enrol anew. Nothing is decommissioned, and no script
runs again. An instance that has enrolled by attestation proves the same key.

usage: rs_reenroll [--resume]

  -r, --resume  taken for compatibility, without effect
`

func runReenroll(c *call) error {
	resume := false
	c.yes(&resume, "resume", "r")
	if err := c.parseAll(); err != nil {
		return err
	}
	_, err := c.ask("POST", "/rll/restart?reenrol=true", "")
	if !errors.Is(err, errNotRunning) {
		return err
	}
	if err := os.Remove(c.Root.Session()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.services("start", "rightlink")
}

// services starts services one after another with the init system's own tool.
func (c *call) services(verb string, names ...string) error {
	systemd := exists(c.Root, "run/systemd/system")
	for _, name := range names {
		var err error
		if systemd {
			_, err = c.Commands.Run(c.ctx, "systemctl", verb, name+".service")
		} else {
			// These scripts know no restart; start is enough for what has ended.
			_, err = c.Commands.Run(c.ctx, c.Root.Join("etc/init.d", name), "start")
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", verb, name, err)
		}
	}
	return nil
}

func exists(root paths.Root, name string) bool {
	_, err := os.Stat(root.Join(name))
	return err == nil
}
