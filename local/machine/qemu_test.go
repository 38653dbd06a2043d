// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetdev(t *testing.T) {
	s := Spec{ID: "i-1", Hostname: "ip-10-0-0-7.ec2.internal", Forwards: []Forward{{"169.254.169.253", 443, "127.0.0.1:8443"}}}
	got, err := netdevArg(s, wiring{imds: "/tmp/ri-1/i-1", relay: []string{"/opt/a, b/it's", "local", "relay"}, sshPort: 2222})
	require.NoError(t, err)
	require.Equal(t, `user,id=n0,ipv6=off,restrict=on,net=169.254.169.0/24,hostname=ip-10-0-0-7,domainname=ec2.internal,hostfwd=tcp:127.0.0.1:2222-:22,`+
		`guestfwd=tcp:169.254.169.254:80-cmd:'/opt/a,, b/it'\''s' 'local' 'relay' 'unix:/tmp/ri-1/i-1',`+
		`guestfwd=tcp:169.254.169.253:443-cmd:'/opt/a,, b/it'\''s' 'local' 'relay' 'tcp:127.0.0.1:8443'`, got)
}

func TestNetdevLimits(t *testing.T) {
	_, err := netdevArg(Spec{}, wiring{imds: "/" + strings.Repeat("a", maxSocketPath)})
	require.ErrorContains(t, err, "TMPDIR")
	_, err = netdevArg(Spec{}, wiring{imds: "/a", relay: []string{strings.Repeat("a", maxGuestfwd)}})
	require.ErrorContains(t, err, "shorter paths")
}

func TestForwardCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		f    Forward
		want string
	}{
		"good":         {Forward{"169.254.169.253", 443, "127.0.0.1:8443"}, ""},
		"outside":      {Forward{"10.0.0.1", 443, "127.0.0.1:8443"}, "not inside"},
		"no address":   {Forward{"platform", 443, "127.0.0.1:8443"}, "not inside"},
		"the guest":    {Forward{GuestIP, 443, "127.0.0.1:8443"}, "taken"},
		"the gateway":  {Forward{"169.254.169.2", 443, "127.0.0.1:8443"}, "taken"},
		"metadata":     {Forward{"169.254.169.254", 80, "127.0.0.1:8443"}, "metadata"},
		"port":         {Forward{"169.254.169.253", 0, "127.0.0.1:8443"}, "between"},
		"host address": {Forward{"169.254.169.253", 443, "8443"}, "HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.f.check(); tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
		})
	}
}

func TestControlCharactersAreRefused(t *testing.T) {
	s := Spec{ID: "i-1", Dir: "/tmp/a", Disks: []Disk{{ID: "vol-1", Path: "/tmp/a\nb"}}}
	_, err := s.complete()
	require.ErrorContains(t, err, "control character")
}

func TestIdentityOfHardware(t *testing.T) {
	require.Regexp(t, regexp.MustCompile(`^ec2[0-9a-f]{5}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$`), ec2UUID("i-1"))
	require.Regexp(t, regexp.MustCompile(`^02(:[0-9a-f]{2}){5}$`), MAC("i-1"))
	require.Equal(t, MAC("i-1"), MAC("i-1"))
	require.NotEqual(t, MAC("i-1"), MAC("i-2"))
}

func TestCPUHasVirtualisation(t *testing.T) {
	for text, want := range map[string]bool{
		"model name\t: vmx\nflags\t\t: fpu sse2\n": false,
		"flags\t\t: fpu vmx sse2\n":                true,
		"flags\t\t: fpu svm\nflags\t\t: fpu\n":     true,
		"flags\t\t: fpu xsvm\nvmx flags\t: vnmi\n": false,
		"": false,
	} {
		path := filepath.Join(t.TempDir(), "cpuinfo")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.Equal(t, want, cpuHasVirtualisation(path), text)
	}
}
