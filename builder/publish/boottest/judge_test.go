// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/verify"
)

func TestBroken(t *testing.T) {
	for name, tc := range map[string]struct{ console, want string }{
		"no init":       {"[    2.1] Run /sbin/init as init process\r\n[    2.2] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\r\n", "the kernel panicked: [    2.2] Kernel panic"},
		"no root":       {"Gave up waiting for root file system device.\nALERT! UUID=1234 does not exist.  Dropping to a shell!\n", "initramfs does not find"},
		"busybox":       {"BusyBox v1.35\n\n(initramfs) ", "initramfs does not find"},
		"emergency":     {"\x1b[0;1;31mYou are in emergency mode\x1b[0m. After logging in\n", "emergency mode"},
		"locked root":   {"Cannot open access to console, the root account is locked.\n", "emergency mode"},
		"boot loader":   {"error: no such device: 1234.\nEntering rescue mode...\ngrub rescue> ", "GRUB"},
		"firmware":      {"SeaBIOS (version 1.16)\nBooting from Hard Disk...\nNo bootable device.\n", "nothing to boot"},
		"init crashed":  {"systemd[1]: Caught <SEGV>, dumped core as pid 77.\nsystemd[1]: Freezing execution.\n", "init has crashed"},
		"a good boot":   {"Booting `Debian GNU/Linux'\nLoading initial ramdisk\n[  OK  ] Reached target Multi-User System.\nlocalhost login: ", ""},
		"words of it":   {"[  OK  ] Stopped target Emergency Mode helper.\nrescue.target is masked\nlogind: grub> is no command\n", ""},
		"nothing":       {"", ""},
		"kernel option": {"Command line: root=UUID=1 console=ttyS0 panic=5\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := broken(tc.console)
			if tc.want == "" {
				require.Empty(t, got)
				return
			}
			require.Contains(t, got, tc.want)
		})
	}
}

func TestAsksForLogin(t *testing.T) {
	require.True(t, asksForLogin("Debian GNU/Linux 12 localhost ttyS0\r\n\r\nlocalhost login: "))
	require.True(t, asksForLogin("\r\nip-10-0-0-1 login: \r\n[   50.1] a message of the kernel\r\n"))
	require.False(t, asksForLogin("pam: failed login: bob\n"))
	require.False(t, asksForLogin("Reached target Login Prompts.\n"))
}

func TestEnd(t *testing.T) {
	got := end(strings.Repeat("first\r\n", 100) + "\x1b[2J\x1b[1;31mthe last\x1b[0m\a\r\n\r\n")
	require.Equal(t, mostConsole, strings.Count(got, "  | "))
	require.True(t, strings.HasSuffix(got, "\n  | the last"), got)
}

// answer is that of a good machine, at noon.
const answer = `
== boot-id
01234567-89ab-cdef-0123-456789abcdef

== booted
1800000000

== clock
1800000060

== hostname
ip-10-0-0-1

== machine-id
0123456789abcdef0123456789abcdef

== own-files
1800000003 /etc/ssh/ssh_host_ed25519_key
1800000001 /etc/machine-id

== state
running

== failed

== mounts
/dev/vda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
systemd-1 /proc/sys/fs/binfmt_misc autofs rw 0 0
binfmt_misc /proc/sys/fs/binfmt_misc binfmt_misc rw 0 0

== root
2048 6289408 6291456 3041000

== listeners
  sl  local_address rem_address   st tx_queue rx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 0100007F:0035 00000000:0000 0A 00000000:00000000
   2: 0F02000A:0016 0202000A:D2F0 01 00000000:00000000
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A
   1: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A

== libraries

== modules

== bootstrap
{"stages": [
  {"name": "early", "result": "ok"},
  {"name": "rightimage", "result": "dormant", "detail": "no platform settings"}
]}

== end
`

var noon = time.Unix(1800000065, 0)

func judged(t *testing.T, text string) *Test {
	t.Helper()
	f, err := readFacts(text, noon)
	require.NoError(t, err)
	j := &Test{Config: Config{SSHPort: 22}, Public: true}
	j.judge(f)
	return j
}

// Every check finds what was planted, and does not find what only looks like it.
func TestJudge(t *testing.T) {
	require.Empty(t, judged(t, answer).report.Findings)
	for name, tc := range map[string]struct{ old, planted, near, check string }{
		"old host key":        {"1800000003 /etc/ssh", "1790000000 /etc/ssh", "1799999990 /etc/ssh", "live-identity"},
		"old machine id":      {"1800000001 /etc/machine-id", "1790000000 /etc/machine-id", "1799999990 /etc/machine-id", "live-identity"},
		"uninitialized":       {"0123456789abcdef0123456789abcdef\n", "uninitialized\n", "0123456789abcdef0123456789abcde0\n", "live-identity"},
		"failed unit":         {"== failed\n", "== failed\n● cron.service loaded failed failed Cron\n", "== failed\n\n", "live-units"},
		"boot does not end":   {"== state\nrunning", "== state\nstarting", "== state\ndegraded", "live-units"},
		"emergency":           {"== state\nrunning", "== state\nmaintenance", "== state\n", "live-units"},
		"partition not grown": {"2048 6289408 6291456", "2048 4192256 6291456", "2048 6287360 6291456", "live-root-grow"},
		"fs not grown":        {"3041000", "2031616", "3000000", "live-root-grow"},
		"mounted twice":       {"tmpfs /run tmpfs rw 0 0", "tmpfs /run tmpfs rw 0 0\ntmpfs /run tmpfs rw 0 0", "tmpfs /run tmpfs rw 0 0\nother /run tmpfs rw 0 0", "live-mounts"},
		"localhost":           {"ip-10-0-0-1", "localhost", "localhost-db", "live-hostname"},
		"localhost, long":     {"ip-10-0-0-1", "localhost.localdomain", "web.localhost.example", "live-hostname"},
		"clock":               {"1800000060", "1800007260", "1800000100", "live-clock"},
		"other port":          {"0100007F:0035", "00000000:0035", "0101007F:0035", "live-services"},
		"other port, IPv6":    {"00000000000000000000000001000000:0277", "00000000000000000000000000000000:0277", "0000000000000000FFFF00000100007F:0277", "live-services"},
		"ldconfig":            {"== libraries\n", "== libraries\nldconfig: /lib/x.so is truncated\n", "== libraries\n \n", "live-libraries"},
		"modprobe":            {"== modules\n", "== modules\nmodprobe: FATAL: Module ext4 not found\n", "== modules\n\n", "live-libraries"},
		"failed stage":        {`"result": "ok"`, `"result": "failed", "detail": "no space"`, `"result": "skipped"`, "live-bootstrap"},
		"stage never ran":     {`"rightimage", "result": "dormant"`, `"rightimage", "result": "running"`, `"rightimage", "result": "ok"`, "live-bootstrap"},
		"no stage":            {`"rightimage"`, `"rightboot"`, `"rightimage"`, "live-bootstrap"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, answer, tc.old)
			found := judged(t, strings.Replace(answer, tc.old, tc.planted, 1)).report.Findings
			require.NotEmpty(t, found, "the defect is not found")
			for _, f := range found {
				require.Equal(t, tc.check, f.Check)
				require.NotEmpty(t, f.Remedy)
			}
			require.Empty(t, judged(t, strings.Replace(answer, tc.old, tc.near, 1)).report.Findings, "the near-miss is reported")
		})
	}
}

// Without our bootstrap, and on a root that is no partition, there is less to say.
func TestJudgeOtherMachines(t *testing.T) {
	text, _, _ := strings.Cut(answer, "== bootstrap")
	text += "== bootstrap\n\n== end\n"
	text = strings.Replace(text, "2048 6289408 6291456 3041000\n", "", 1)
	require.Empty(t, judged(t, text).report.Findings)
}

// A private image is judged more mildly only where it is about publication.
func TestSeverities(t *testing.T) {
	j := &Test{}
	j.tell("live-services", "port")
	j.tell("live-boot", "panic")
	require.Equal(t, verify.Info, j.report.Findings[0].Severity)
	require.Equal(t, verify.Blocker, j.report.Findings[1].Severity)
	for _, c := range verify.Checks() {
		if c.Class == verify.Boot {
			require.True(t, strings.HasPrefix(c.ID, "live-"), c.ID)
		}
	}
}

func TestReadFactsRefuses(t *testing.T) {
	half, _, _ := strings.Cut(answer, "== end")
	for name, text := range map[string]string{
		"half an answer":      half,
		"no answer":           "Please login as the user \"admin\" rather than the user \"root\".\n",
		"no clock":            strings.Replace(answer, "1800000060", "", 1),
		"no boot":             strings.Replace(answer, "== booted\n1800000000", "== booted\nnever", 1),
		"a strange bootstrap": strings.Replace(answer, `{"stages"`, `["stages"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readFacts(text, noon)
			require.Error(t, err)
		})
	}
}

func FuzzReadFacts(f *testing.F) {
	f.Add(answer)
	f.Add("== root\n1 2 3 99999999999999999999\n== listeners\n 0: :\n== end\n")
	f.Fuzz(func(t *testing.T, text string) {
		facts, err := readFacts(text, noon)
		if err == nil {
			(&Test{}).judge(facts)
		}
		broken(text)
		end(text)
	})
}

// The script runs on this machine, under the shell that images have, and its
// answer can be read.
func TestScript(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-s")
	cmd.Stdin = strings.NewReader(guestScript)
	out, err := cmd.Output()
	require.NoError(t, err)
	f, err := readFacts(string(out), time.Now())
	require.NoError(t, err, string(out))
	require.True(t, isBootID(f.bootID), f.bootID)
	require.WithinDuration(t, time.Now(), f.clock, time.Minute)
	require.False(t, f.booted.After(time.Now()))
}
