// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package tools

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/loglevel"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/shutdown"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/state"
)

const stateUsage = `rs_state shows the state of this instance or of its agent.

usage: rs_state --type run|agent

  -t, --type run    booting, booting:reboot, operational, stranded, or
                    shutting-down:KIND, where KIND is reboot, stop, terminate or
                    unknown; works without the agent too
  -t, --type agent  connected, disconnected or stopped
`

func runState(c *call) error {
	kind := ""
	c.text(&kind, "type", "t")
	if err := c.parseAll(); err != nil {
		return err
	}
	switch kind {
	case "run":
		text, err := os.ReadFile(c.Root.State())
		if errors.Is(err, fs.ErrNotExist) {
			return errors.New("this instance has not been enrolled")
		}
		var f state.File
		if err == nil {
			err = json.Unmarshal(text, &f)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, runStateText(f))
	case "agent":
		answer, err := c.ask("GET", "/rll/proc/connected", "")
		switch {
		case errors.Is(err, errNotRunning):
			fmt.Fprintln(c.Stdout, "stopped")
		case err != nil:
			return err
		case strings.TrimSpace(answer) == "true":
			fmt.Fprintln(c.Stdout, "connected")
		default:
			fmt.Fprintln(c.Stdout, "disconnected")
		}
	default:
		return c.wrong("--type wants run or agent")
	}
	return nil
}

func runStateText(f state.File) string {
	switch f.Value {
	case wire.StateBooting:
		if f.Rebooted || f.Reboot {
			return "booting:reboot"
		}
	case wire.StateDecommissioning, wire.StateDecommissioned:
		kind := f.DecommissionType
		if kind == "" {
			kind = shutdown.KindUnknown
		}
		return "shutting-down:" + kind
	}
	return f.Value
}

const scriptUsage = `rs_run_right_script asks the platform to run an operational script of this
instance's ServerTemplate here. It returns at once; the output goes to an audit
entry.

usage: rs_run_right_script --name NAME | --identity ID [options]

  -n, --name NAME             the script's name
  -i, --identity ID           or its id
  -p, --parameter NAME=VALUE  an input; VALUE has a form such as text:abc or
                              cred:NAME; repeatable
  -t, --thread THREAD         run queue (default "default"); scripts of one thread
                              run one after another
  -P, --policy NAME           taken for compatibility, without effect
`

func runScript(c *call) error {
	var name, id, thread, policy string
	var parameters []string
	c.text(&name, "name", "n")
	c.text(&id, "identity", "i")
	c.text(&thread, "thread", "t")
	c.text(&policy, "policy", "P")
	c.list(&parameters, "parameter", "p")
	if err := c.parseAll(); err != nil {
		return err
	}
	if (name == "") == (id == "") {
		return c.wrong("want either --name or --identity")
	}
	query := url.Values{}
	for key, value := range map[string]string{"right_script": name, "right_script_id": id, "thread": thread, "policy": policy} {
		if value != "" {
			query.Set(key, value)
		}
	}
	for _, p := range parameters {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return c.wrong("--parameter %q: want NAME=VALUE, such as PORT=text:80", p)
		}
		query.Set("arguments["+key+"]", value)
	}
	text, err := c.ask("POST", "/rll/run/right_script?"+query.Encode(), "")
	fmt.Fprint(c.Stdout, text)
	return err
}

const shutdownUsage = `rs_shutdown decommissions this instance and shuts it down.

usage: rs_shutdown --reboot | --stop | --terminate [--immediately]

  -r, --reboot       reboot the machine
  -s, --stop         power it off; it can be started again
  -t, --terminate    power it off, and tell the platform that it is done with it
  -i, --immediately  without the decommission scripts
  -d, --deferred     with them, which is the default
`

func runShutdown(c *call) error {
	var reboot, stop, terminate, now, deferred bool
	c.yes(&reboot, "reboot", "r")
	c.yes(&stop, "stop", "s")
	c.yes(&terminate, "terminate", "t")
	c.yes(&now, "immediately", "i")
	c.yes(&deferred, "deferred", "d")
	if err := c.parseAll(); err != nil {
		return err
	}
	kinds := []string{}
	for kind, wanted := range map[string]bool{wire.KindReboot: reboot, wire.KindStop: stop, wire.KindTerminate: terminate} {
		if wanted {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) != 1 || now && deferred {
		return c.wrong("want one of --reboot, --stop and --terminate, and at most one of --immediately and --deferred")
	}
	_, err := c.ask("POST", fmt.Sprintf("/rll/shutdown?kind=%s&immediately=%t", kinds[0], now), "")
	return err
}

const levelUsage = `rs_log_level shows or changes how much the agent logs.

usage: rs_log_level [--log-level LEVEL]

  -l, --log-level LEVEL  debug, info, warn or error; kept over restarts
`

func runLevel(c *call) error {
	level := ""
	c.text(&level, "log-level", "l")
	if err := c.parseAll(); err != nil {
		return err
	}
	if level != "" {
		if _, err := loglevel.Parse(level); err != nil {
			return c.wrong("%w", err)
		}
		if _, err := c.ask("PUT", "/rll/proc/log_level", `{"payload":"`+strings.ToLower(level)+`"}`); err != nil {
			return err
		}
	}
	text, err := c.ask("GET", "/rll/proc/log_level", "")
	fmt.Fprint(c.Stdout, text)
	return err
}
