// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/rightimage/packer-plugin-rightimage/internal/localcloud"
)

// users are the names under which images let their owner in.
var users = []string{"root", "admin", "ubuntu", "ec2-user", "debian", "fedora", "rocky", "almalinux", "centos", "alpine", "arch", "opensuse"}

// address is where the SSH server of a machine is.
type address struct {
	host string
	port int
}

// awaitLogin waits until the machine lets the key in, or until its console asks
// for a login. A console that says that the boot has failed ends the wait.
func (t *Test) awaitLogin(ctx context.Context) error {
	began := time.Now()
	if t.Connect == connectConsole {
		t.Say("%s: boot test: waiting for a login on the console of %s", t.Region, t.instance)
	} else {
		t.Say("%s: boot test: waiting for the SSH server of %s", t.Region, t.instance)
	}
	if err := t.untilLogin(ctx, "live-login", func(string) bool { return true }); err != nil {
		return err
	}
	took := time.Since(began).Round(time.Second)
	if t.shell == nil {
		t.Say("%s: boot test: the console asks for a login after %s", t.Region, took)
		return nil
	}
	t.Say("%s: boot test: %s lets %s in after %s", t.Region, t.instance, t.shell.User(), took)
	return nil
}

// untilLogin fills in the shell. wanted turns down the boot that is about to end.
func (t *Test) untilLogin(ctx context.Context, check string, wanted func(bootID string) bool) error {
	last := errors.New("nothing answered yet")
	err := t.waiter().Until(ctx, "a login", func(ctx context.Context) (bool, error) {
		// The console first: it says why a machine has ended.
		console, err := t.console(ctx)
		if err != nil {
			return false, err
		}
		if why := broken(console); why != "" {
			return false, &unfit{"live-boot", why}
		}
		i, err := t.machine(ctx)
		if err != nil {
			return false, err
		}
		if t.Connect == connectConsole {
			last = errors.New("the console asks for no login")
			return asksForLogin(console), nil
		}
		to := t.address(i)
		if last = t.login(ctx, to, wanted); last != nil {
			last = fmt.Errorf("%s port %d: %w", to.host, to.port, last)
		}
		return last == nil, nil
	})
	if late(ctx) {
		return &unfit{check, fmt.Sprintf("no login within %s: %v", t.Timeout, last)}
	}
	return err
}

// address is where the machine is logged in to.
func (t *Test) address(i types.Instance) address {
	if host, port, ok := localcloud.SSH(i); ok && t.Local {
		return address{host, port}
	}
	host := aws.ToString(i.PublicIpAddress)
	if host == "" && t.SSHInterface != publicIP || t.SSHInterface == privateIP {
		host = aws.ToString(i.PrivateIpAddress)
	}
	return address{host, t.SSHPort}
}

// errStale is a machine that has not yet gone down for its reboot.
var errStale = errors.New("the machine has not rebooted")

// login tries the users one after the other.
func (t *Test) login(ctx context.Context, to address, wanted func(bootID string) bool) error {
	names := users
	if t.SSHUsername != "" {
		names = []string{t.SSHUsername}
	}
	dial := t.dial
	if dial == nil {
		dial = dialSSH
	}
	var refused []string
	for _, user := range names {
		s, err := dial(ctx, to, user, t.key.signer)
		if errors.Is(err, errRefused) {
			refused = append(refused, user)
			continue
		}
		if err != nil {
			return err
		}
		id, err := s.Run(ctx, asRoot, "cat /proc/sys/kernel/random/boot_id")
		if err == nil && !isBootID(id) {
			err = fmt.Errorf("%w: %s", errRefused, clip(strings.Join(strings.Fields(id), " "), 120))
		}
		switch {
		case errors.Is(err, errRefused): // as cloud-init does with root
			refused = append(refused, user+" ("+strings.TrimPrefix(err.Error(), errRefused.Error()+": ")+")")
		case err == nil && !wanted(strings.TrimSpace(id)):
			err = errStale
		}
		if err == nil {
			t.shell = s
			return nil
		}
		s.Close()
		if !errors.Is(err, errRefused) {
			return err
		}
	}
	return fmt.Errorf("the key is let in for none of %s", strings.Join(refused, ", "))
}

// isBootID tells what the kernel prints from a message that a login gets instead.
func isBootID(s string) bool {
	s = strings.TrimSpace(s)
	return len(s) == 36 && strings.Count(s, "-") == 4 && strings.Trim(s, "0123456789abcdef-") == ""
}

// hangUp ends the connection.
func (t *Test) hangUp() {
	if t.shell != nil {
		t.shell.Close()
		t.shell = nil
	}
}

// look makes the checks that need the machine.
func (t *Test) look(ctx context.Context) error {
	if t.shell == nil {
		return nil
	}
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	t.first, t.hostKey = f, t.shell.HostKey()
	t.judge(f)
	if err := t.shell.SFTP(ctx); err != nil {
		t.tell("live-sftp", "%v", err)
	}
	return nil
}

// ask runs the script on the machine.
func (t *Test) ask(ctx context.Context) (facts, error) {
	answer, err := t.shell.Run(ctx, asRoot, guestScript)
	now := time.Now()
	if late(ctx) {
		return facts{}, &unfit{"live-login", fmt.Sprintf("the machine did not answer within %s", t.Timeout)}
	}
	if err == nil {
		var f facts
		if f, err = readFacts(answer, now); err == nil {
			return f, nil
		}
	}
	if ctx.Err() != nil {
		return facts{}, context.Cause(ctx)
	}
	return facts{}, &unfit{"live-login", fmt.Sprintf("%s cannot look at the machine as root: %v", t.shell.User(), err)}
}

// lookAgain reboots the machine and compares.
func (t *Test) lookAgain(ctx context.Context) error {
	if t.shell == nil || t.SkipReboot {
		return nil
	}
	t.Say("%s: boot test: rebooting %s", t.Region, t.instance)
	if _, err := t.EC2.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: []string{t.instance}}); err != nil {
		return t.fail("reboot instance "+t.instance, err)
	}
	t.hangUp()
	if err := t.untilLogin(ctx, "live-reboot", func(id string) bool { return id != t.first.bootID }); err != nil {
		return err
	}
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	t.judgeReboot(f)
	return nil
}
