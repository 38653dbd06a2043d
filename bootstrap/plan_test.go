// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/bootstrap"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/detect"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/hooks"
	"github.com/rightimage/packer-plugin-rightimage/bootstrap/status"
)

func detectArch(root string) (string, error) {
	facts, err := detect.Detect(root)
	return facts.Arch, err
}

func enabled(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "etc/systemd/system/multi-user.target.wants"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".service"))
	}
	sort.Strings(names)
	return names
}

func do(t *testing.T, root, stage string) (bootstrap.Outcome, *machine) {
	t.Helper()
	m := &machine{root: root}
	out, err := agent(root, m).Do(context.Background(), stage)
	require.NoError(t, err, stage)
	return out, m
}

func read(t *testing.T, root, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(text)
}

// TestPlan walks the whole life of an instance with a platform.
func TestPlan(t *testing.T) {
	imds := newMetadata(t, query)
	root := newRoot(t)
	require.Equal(t, []string{"rightimage", "rightimage-early", "rightimage-key"}, enabled(t, root))
	do(t, root, "early")
	do(t, root, "key")
	require.Contains(t, read(t, root, "root/.ssh/authorized_keys"), "ssh-ed25519")
	imds.reset(nil)

	out, m := do(t, root, "rightimage")
	require.Equal(t, status.OK, out.Result)
	require.Equal(t, "RightLink 0.1.0 installed", out.Detail)
	require.Equal(t, []string{"rightboot", "rightimage-early", "rightimage-key", "rightlink", "rightscale"}, enabled(t, root))
	require.Equal(t, "systemctl start --no-block rightlink.service", m.argv[len(m.argv)-1])
	require.Contains(t, m.argv, "post_install.sh")

	out, m = do(t, root, "rightboot")
	require.Equal(t, "first-boot", out.Detail)
	require.Empty(t, m.argv)

	out, m = do(t, root, "rightscale")
	require.Equal(t, status.OK, out.Result)
	require.Equal(t, "ip-10-0-0-7", m.host)
	require.Equal(t, "127.0.0.1 localhost\n# rightimage: begin\n10.0.0.7 ip-10-0-0-7.ec2.internal ip-10-0-0-7\n# rightimage: end\n", read(t, root, "etc/hosts"))
	require.Contains(t, read(t, root, "var/lib/rightscale-identity"), "client_id='4711'\nclient_secret='s3cr3t-token'\naccount='71'\napi_hostname='rs.example.net'\n")
	require.Contains(t, read(t, root, "etc/profile.d/http_proxy.sh"), "export NO_PROXY='169.254.169.254,.example'\n")
	require.Equal(t, query, read(t, root, "var/spool/cloud/user-data.raw"))
	require.Equal(t, query, read(t, root, "var/spool/ec2/user-data.raw"), "the old name of the spool")

	out, m = do(t, root, "rightlink")
	require.Equal(t, "enrolled", out.Detail)
	require.Equal(t, []string{"rightlink --root " + root + " enroll --timeout 10m0s"}, m.argv)

	// Nothing that bootstrap writes or prints about itself carries the token.
	require.NotContains(t, read(t, root, "var/lib/rightscale/status.json"), "s3cr3t")

	// The next boot: everything is there.
	boot(t, root, "boot-2")
	out, _ = do(t, root, "rightboot")
	require.Equal(t, "reboot", out.Detail)
	out, _ = do(t, root, "rightscale")
	require.Equal(t, []string{"host name ip-10-0-0-7"}, out.Changed)

	// A clone without platform settings forgets everything and goes dormant.
	boot(t, root, "boot-3")
	imds.set("/latest/meta-data/instance-id", "i-0bbb")
	imds.set("/latest/user-data", "#!/bin/sh\necho mine\n")
	out, _ = do(t, root, "rightboot")
	require.Equal(t, "cloned-image", out.Detail)
	require.NoFileExists(t, filepath.Join(root, "var/lib/rightscale-identity"))
	require.Equal(t, "127.0.0.1 localhost\n", read(t, root, "etc/hosts"))
	out, _ = do(t, root, "rightscale")
	require.Equal(t, status.Dormant, out.Result)
	require.NoFileExists(t, filepath.Join(root, "etc/profile.d/http_proxy.sh"))
	out, m = do(t, root, "rightlink")
	require.Equal(t, status.Dormant, out.Result)
	require.Empty(t, m.argv)
	s, err := status.Load(root)
	require.NoError(t, err)
	require.Equal(t, "i-0bbb", s.InstanceID)
}

// TestForetold: where systemd runs the hooks, the stage before says that the
// machine is dormant, and rightimage.service does not start. The next boot asks
// again.
func TestForetold(t *testing.T) {
	imds := newMetadata(t, "#!/bin/sh\n")
	root := newRoot(t)
	mark := filepath.Join(root, hooks.DormantMark)
	do(t, root, "key")
	require.FileExists(t, mark)
	require.Contains(t, read(t, root, "etc/systemd/system/rightimage.service"), "\nConditionPathExists=!/"+hooks.DormantMark+"\n")
	s, err := status.Load(root)
	require.NoError(t, err)
	require.Len(t, s.Stages, 2)
	for _, st := range s.Stages {
		if st.Name == "rightimage" {
			require.Equal(t, status.Dormant, st.Result)
			require.Equal(t, "no platform settings in user-data", st.Detail)
		}
	}

	boot(t, root, "boot-2")
	imds.set("/latest/user-data", query)
	do(t, root, "key")
	require.NoFileExists(t, mark, "it is not dormant any more")
	out, _ := do(t, root, "rightimage")
	require.Equal(t, status.OK, out.Result)

	// Its hook is gone now, so that nobody asks for user-data any more.
	boot(t, root, "boot-3")
	imds.reset(nil)
	do(t, root, "key")
	require.NotContains(t, imds.requests, "GET /latest/user-data")
	require.NoFileExists(t, mark)
}

// TestForetoldNothing: a launch with a platform leaves no mark.
func TestForetoldNothing(t *testing.T) {
	newMetadata(t, query)
	root := newRoot(t)
	do(t, root, "key")
	require.NoFileExists(t, filepath.Join(root, hooks.DormantMark))
	s, err := status.Load(root)
	require.NoError(t, err)
	require.Len(t, s.Stages, 1)
}

// TestDormant: metadata requests are all that happens.
func TestDormant(t *testing.T) {
	for name, data := range map[string]string{
		"none": "", "script": "#!/bin/sh\n", "half": "RS_rn_id=4711&RS_server=rs.example.net", "cloud-config": "#cloud-config\npackages: [x]\n",
	} {
		t.Run(name, func(t *testing.T) {
			imds := newMetadata(t, data)
			root := newRoot(t)
			before := tree(t, root)
			out, m := do(t, root, "rightimage")
			require.Equal(t, status.Dormant, out.Result)
			require.Empty(t, m.argv, "no command at all")
			require.Equal(t, []string{"PUT /latest/api/token", "GET /latest/user-data"}, imds.requests)
			require.Contains(t, enabled(t, root), "rightimage", "user-data can change while the instance is stopped")
			require.Equal(t, without(before, "var/lib"), without(tree(t, root), "var/lib"))
			if name == "half" {
				require.Contains(t, out.Detail, "RS_rn_auth is missing")
			}
		})
	}
}

func without(tree []string, prefix string) []string {
	var out []string
	for _, l := range tree {
		if !strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

func TestPreinstalled(t *testing.T) {
	newMetadata(t, query)
	root := newRoot(t)
	m := &machine{root: root}
	_, err := m.Run(context.Background(), "dpkg", "-i")
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(root, "etc/rightscale.d/rightscale-release")))
	_, err = agent(root, m).Register(context.Background(), bootstrap.RegisterOptions{})
	require.NoError(t, err)
	out, m := do(t, root, "rightimage")
	require.Equal(t, "RightLink 0.1.0 was installed already", out.Detail)
	for _, line := range m.argv {
		require.False(t, strings.HasPrefix(line, "dpkg "), line)
	}
	require.NotContains(t, enabled(t, root), "rightimage")
}

// TestFailureKeepsRegistered: whatever fails, the next boot tries again.
func TestFailureKeepsRegistered(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, string, *machine, *metadata){
		"no package": func(t *testing.T, root string, _ *machine, _ *metadata) {
			require.NoError(t, os.RemoveAll(filepath.Join(root, "root/.rightscale")))
		},
		"other package": func(t *testing.T, root string, _ *machine, _ *metadata) {
			found, _ := filepath.Glob(filepath.Join(root, "root/.rightscale/*.deb"))
			require.NoError(t, os.Chmod(found[0], 0o600))
			require.NoError(t, os.WriteFile(found[0], []byte("changed"), 0o600))
		},
		"unknown version": func(_ *testing.T, _ string, _ *machine, imds *metadata) {
			imds.set("/latest/user-data", query+"&RS_version=9.9")
		},
		"hooks gone": func(t *testing.T, root string, _ *machine, _ *metadata) {
			require.NoError(t, os.Remove(filepath.Join(root, "etc/systemd/system/rightscale.service")))
		},
		"unknown cloud": func(t *testing.T, root string, _ *machine, _ *metadata) {
			require.NoError(t, os.Remove(filepath.Join(root, "etc/rightscale.d/cloud")))
			put(t, root, "etc/rightscale.d/cloud", "moon", 0o444)
		},
	} {
		t.Run(name, func(t *testing.T) {
			imds := newMetadata(t, query)
			root := newRoot(t)
			m := &machine{root: root, fail: map[string]error{}}
			spoil(t, root, m, imds)
			_, err := agent(root, m).Do(context.Background(), "rightimage")
			require.Error(t, err)
			require.Contains(t, enabled(t, root), "rightimage")
			s, loadErr := status.Load(root)
			require.NoError(t, loadErr)
			st, ok := s.Stage("rightimage")
			require.True(t, ok)
			require.Equal(t, status.Failed, st.Result)
			require.Equal(t, strings.Fields(err.Error())[:8], strings.Fields(st.Detail)[:8])
		})
	}
}

func TestUnknownSystem(t *testing.T) {
	newMetadata(t, query)
	root := newRoot(t)
	put(t, root, "etc/os-release", "ID=plan9\n", 0o644)
	require.NoError(t, os.Remove(filepath.Join(root, "etc/debian_version")))
	_, err := agent(root, &machine{root: root}).Do(context.Background(), "rightimage")
	require.ErrorIs(t, err, detect.ErrUnknownOS)
}

// TestNeeds: where no init system keeps the order, a stage sees to it.
func TestNeeds(t *testing.T) {
	newMetadata(t, query)
	root := newRoot(t)
	do(t, root, "rightimage")
	do(t, root, "rightlink")
	s, err := status.Load(root)
	require.NoError(t, err)
	for _, name := range []string{"rightboot", "rightscale", "rightlink"} {
		st, ok := s.Stage(name)
		require.True(t, ok, name)
		require.Equal(t, status.OK, st.Result, name)
	}
	do(t, root, "rightlink")
	s, err = status.Load(root)
	require.NoError(t, err)
	st, _ := s.Stage("rightboot")
	require.Equal(t, 1, st.Runs, "once in a boot is enough")
	boot(t, root, "boot-2")
	m := &machine{root: root, fail: map[string]error{"rightlink": errors.New("no route")}}
	_, err = agent(root, m).Do(context.Background(), "rightlink")
	require.ErrorContains(t, err, "no route")
	s, err = status.Load(root)
	require.NoError(t, err)
	st, _ = s.Stage("rightboot")
	require.Equal(t, 2, st.Runs)
}
