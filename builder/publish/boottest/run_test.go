// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/ledger"
	"github.com/rightimage/packer-plugin-rightimage/internal/sparse"
	"github.com/rightimage/packer-plugin-rightimage/internal/wait"
	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
	"github.com/rightimage/packer-plugin-rightimage/verify"
)

// seed registers an image of a disk of one block.
func seed(ctx context.Context, c *matrix.Cloud) error {
	f, err := c.Factory(ctx)
	if err != nil {
		return err
	}
	blocks, token := f.EBS(matrix.Here), uuid.NewString()
	snap, err := blocks.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1), ClientToken: &token})
	if err != nil {
		return err
	}
	data := bytes.Repeat([]byte("x"), sparse.BlockSize)
	_, err = blocks.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{
		SnapshotId: snap.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(data), DataLength: aws.Int32(sparse.BlockSize),
		Checksum: aws.String(sparse.Checksum(data).Base64()), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256,
	})
	if err != nil {
		return err
	}
	if _, err := blocks.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: snap.SnapshotId, ChangedBlocksCount: aws.Int32(1)}); err != nil {
		return err
	}
	control := f.EC2(matrix.Here)
	err = wait.Waiter{Delay: 10 * time.Millisecond, Attempts: 500}.Until(ctx, "the snapshot", func(ctx context.Context) (bool, error) {
		out, err := control.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snap.SnapshotId}})
		return err == nil && out.Snapshots[0].State == types.SnapshotStateCompleted, err
	})
	if err != nil {
		return err
	}
	_, err = control.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: aws.String("tested"), Architecture: types.ArchitectureValuesX8664, VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		RootDeviceName:      aws.String("/dev/xvda"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: snap.SnapshotId, DeleteOnTermination: aws.Bool(false)}}},
	})
	return err
}

// guest is a machine as SSH shows it.
type guest struct {
	mu      sync.Mutex
	boots   int // it has another boot id after each
	late    int // logins that nobody answers
	allows  string
	change  func(boot int, answer string) string
	hostKey func(boot int) string
	sftp    error
	asked   []address
}

func (g *guest) dial(_ context.Context, to address, user string, _ ssh.Signer) (shell, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, to)
	if g.late > 0 {
		g.late--
		return nil, errors.New("connection refused")
	}
	if g.allows != "" && user != g.allows {
		return nil, errRefused
	}
	g.boots++
	return &login{g, user, (g.boots + 1) / 2}, nil // a reboot is seen at the second login after it
}

// login is a connection to a guest in one of its boots.
type login struct {
	g    *guest
	user string
	boot int
}

func (l *login) Run(_ context.Context, _, input string) (string, error) {
	id := fmt.Sprintf("00000000-0000-0000-0000-%012d", l.boot)
	if input != guestScript {
		return id + "\n", nil
	}
	now := time.Now().Unix()
	text := strings.NewReplacer("01234567-89ab-cdef-0123-456789abcdef", id, "1800000060", fmt.Sprint(now), "1800000000", fmt.Sprint(now-60),
		"1800000001", fmt.Sprint(now-59), "1800000003", fmt.Sprint(now-58)).Replace(answer)
	if l.g.change != nil {
		text = l.g.change(l.boot, text)
	}
	return text, nil
}

func (l *login) SFTP(context.Context) error { return l.g.sftp }
func (l *login) User() string               { return l.user }
func (l *login) Close()                     {}
func (l *login) HostKey() string {
	if l.g.hostKey != nil {
		return l.g.hostKey(l.boot)
	}
	return "SHA256:key"
}

// told is what a test says.
type told struct{ strings.Builder }

func (t *told) say(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// newTest is the boot test of the cloud's image.
func newTest(ctx context.Context, c *matrix.Cloud, g *guest, say *told) (*Test, error) {
	f, err := c.Factory(ctx)
	if err != nil {
		return nil, err
	}
	control := f.EC2(matrix.Here)
	out, err := control.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}}, awsx.Once)
	if err != nil || len(out.Images) != 1 {
		return nil, errors.Join(err, fmt.Errorf("there is not one image"))
	}
	test := &Test{
		EC2: control, Region: matrix.Here, Image: out.Images[0], Build: uuid.NewString(), Owed: &ledger.Ledger{},
		Waiter: wait.Waiter{Delay: 10 * time.Millisecond}, Fresh: 100 * time.Millisecond, Known: time.Second, Local: true, Public: true,
		Explain: f.Explain, Say: say.say, dial: g.dial,
		Command: func(verb string, args ...string) string { return f.Command("ec2", matrix.Here, verb, args...) },
	}
	test.Prepare(func(string, string, string) {})
	return test, nil
}

// run tests and settles, as publishing does.
func run(ctx context.Context, test *Test) error {
	err := test.Run(ctx)
	if left := test.Owed.Settle(ctx, 20*time.Second); left != nil {
		return errors.Join(err, left)
	}
	return err
}

func start(t *testing.T) *matrix.Cloud {
	t.Helper()
	matrix.Quiet(t)
	c, err := matrix.Start(t)
	require.NoError(t, err)
	require.NoError(t, seed(t.Context(), c))
	return c
}

// sameAs fails when the cloud has other things than before.
func sameAs(t *testing.T, c *matrix.Cloud, before []matrix.Thing) {
	t.Helper()
	after, err := c.Things(t.Context())
	require.NoError(t, err)
	require.Empty(t, matrix.Minus(after, before))
	require.Empty(t, matrix.Minus(before, after))
}

func TestGoodImage(t *testing.T) {
	c := start(t)
	before, err := c.Things(t.Context())
	require.NoError(t, err)
	var say told
	g := &guest{late: 2, allows: "admin"}
	test, err := newTest(t.Context(), c, g, &say)
	require.NoError(t, err)
	require.NoError(t, run(t.Context(), test), say.String())
	require.Contains(t, say.String(), "launching ami-")
	require.Contains(t, say.String(), "lets admin in after")
	require.Contains(t, say.String(), "rebooting")
	require.Contains(t, say.String(), "boot test: passed")
	require.Equal(t, 22, g.asked[0].port)
	require.True(t, strings.HasPrefix(g.asked[0].host, "127.8"), g.asked[0].host)
	calls := c.Calls()
	require.Equal(t, 1, calls["ec2:RunInstances"])
	require.Equal(t, 1, calls["ec2:RebootInstances"])
	sameAs(t, c, before)
}

// What a machine does wrong is told by the check's name, with the end of its
// console, and nothing is left.
func TestBadImages(t *testing.T) {
	c := start(t)
	before, err := c.Things(t.Context())
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		guest  *guest
		change func(*Test)
		want   []string
	}{
		"nobody answers": {&guest{late: 1 << 30}, func(t *Test) { t.Timeout = 300 * time.Millisecond },
			[]string{"blocker: live-login: no login within 300ms: 127.8", "connection refused", "boot_test.ssh_username", "the console of i-"}},
		"no user": {&guest{allows: "somebody"}, func(t *Test) { t.Timeout = 300 * time.Millisecond }, []string{"live-login", "root, admin, ubuntu"}},
		"the key of the image": {&guest{change: func(_ int, s string) string {
			return strings.Replace(s, "== own-files\n", "== own-files\n1600000000 /etc/ssh/ssh_host_rsa_key\n", 1)
		}}, nil,
			[]string{"live-identity: /etc/ssh/ssh_host_rsa_key was written", "rightimage clean"}},
		"a stage failed": {&guest{change: func(_ int, s string) string {
			return strings.Replace(s, `"result": "ok"`, `"result": "failed", "detail": "no \u001b[31mspace"`, 1)
		}}, nil,
			[]string{"live-bootstrap: stage early failed: no space"}},
		"another host key": {&guest{hostKey: func(boot int) string { return fmt.Sprint("SHA256:", boot) }}, nil, []string{"live-reboot: the host key was SHA256:1, and is SHA256:2"}},
		"another machine id": {&guest{change: func(boot int, s string) string {
			return strings.Replace(s, "0123456789abcdef01", fmt.Sprint("012345678", boot, "abcdef01"), 1)
		}}, nil,
			[]string{"live-reboot: the machine id is another one"}},
		"half an answer":     {&guest{change: func(_ int, s string) string { return s[:100] }}, nil, []string{"live-login: root cannot look at the machine as root: its answer is not whole"}},
		"does not come back": {&guest{}, func(t *Test) { t.Timeout = 500 * time.Millisecond; t.dial = stuck(t.dial) }, []string{"live-reboot: no login within", "has not rebooted"}},
	} {
		t.Run(name, func(t *testing.T) {
			var say told
			test, err := newTest(t.Context(), c, tc.guest, &say)
			require.NoError(t, err)
			if tc.change != nil {
				tc.change(test)
			}
			err = run(t.Context(), test)
			var failed *FailedError
			require.ErrorAs(t, err, &failed)
			require.ErrorContains(t, err, "image "+*test.Image.ImageId+" in "+matrix.Here+" must not be shared")
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			sameAs(t, c, before)
		})
	}
}

// stuck is a machine that never reboots.
func stuck(dial dialer) dialer {
	return func(ctx context.Context, to address, user string, key ssh.Signer) (shell, error) {
		s, err := dial(ctx, to, user, key)
		if l, ok := s.(*login); ok {
			l.boot = 1
		}
		return s, err
	}
}

// consoles answers for the console, of which a cloud without machines has none.
type consoles struct {
	Control
	text string
	fail func(*ec2.GetConsoleOutputInput) error
}

func (c consoles) GetConsoleOutput(_ context.Context, in *ec2.GetConsoleOutputInput, _ ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error) {
	if c.fail != nil {
		if err := c.fail(in); err != nil {
			return nil, err
		}
	}
	return &ec2.GetConsoleOutputOutput{Output: aws.String(encode(c.text))}, nil
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestConsole(t *testing.T) {
	c := start(t)
	before, err := c.Things(t.Context())
	require.NoError(t, err)
	old := func(in *ec2.GetConsoleOutputInput) error {
		if aws.ToBool(in.Latest) {
			return errors.New("api error UnsupportedOperation: not on this type")
		}
		return nil
	}
	for name, tc := range map[string]struct {
		console consoles
		connect string
		want    []string
		seen    string
		waiver  string
		patient bool
	}{
		"panic":              {consoles{text: "Run /sbin/init\nKernel panic - not syncing: No working init found.\n"}, connectSSH, []string{"live-boot: the kernel panicked", "the end of the console of i-", "  | Run /sbin/init\n  | Kernel panic"}, "", "", true},
		"login":              {consoles{text: "Debian\nweb login: "}, connectConsole, nil, "the console asks for a login", "", false},
		"login, an old type": {consoles{text: "web login: ", fail: old}, connectConsole, nil, "boot test: passed", "", false},
		"no login":           {consoles{text: "Loading\n"}, connectConsole, []string{"live-login: no login within 300ms: the console asks for no login"}, "", "", false},
		"no login, accepted": {consoles{text: "Loading\n"}, connectConsole, nil, "accepted: it has no console (until 2999-12-31)", "live-login", false},
	} {
		t.Run(name, func(t *testing.T) {
			var say told
			test, err := newTest(t.Context(), c, &guest{late: 1 << 30}, &say)
			require.NoError(t, err)
			tc.console.Control = test.EC2
			test.EC2, test.Connect, test.Timeout = tc.console, tc.connect, 300*time.Millisecond
			if tc.patient {
				test.Timeout = 20 * time.Second
			}
			if tc.waiver != "" {
				test.Waivers = []verify.Waiver{{ID: tc.waiver, Path: "*", Reason: "it has no console", Expires: "2999-12-31"}}
			}
			err = run(t.Context(), test)
			if len(tc.want) == 0 {
				require.NoError(t, err)
			}
			for _, want := range tc.want {
				require.ErrorContains(t, err, want)
			}
			require.Contains(t, say.String(), tc.seen)
			sameAs(t, c, before)
		})
	}
	require.Zero(t, c.Calls()["ec2:RebootInstances"])
}

// A machine that ends by itself says why, at once.
func TestMachineEnds(t *testing.T) {
	c := start(t)
	var say told
	test, err := newTest(t.Context(), c, &guest{late: 1 << 30}, &say)
	require.NoError(t, err)
	test.dial = func(ctx context.Context, _ address, _ string, _ ssh.Signer) (shell, error) {
		_, err := test.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{test.instance}})
		return nil, errors.Join(err, errors.New("gone"))
	}
	err = run(t.Context(), test)
	require.ErrorContains(t, err, "live-boot: instance "+test.instance+" is ")
}

// A cancel ends the test with its cause, and everything goes.
func TestCancel(t *testing.T) {
	c := start(t)
	before, err := c.Things(t.Context())
	require.NoError(t, err)
	var say told
	test, err := newTest(t.Context(), c, &guest{late: 1 << 30}, &say)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	dial := test.dial
	test.dial = func(ctx context.Context, to address, user string, key ssh.Signer) (shell, error) {
		cancel()
		return dial(ctx, to, user, key)
	}
	require.ErrorIs(t, run(ctx, test), context.Canceled)
	sameAs(t, c, before)
}

// The machine is launched as anybody would, but for what the test needs.
func TestRequest(t *testing.T) {
	test := &Test{
		Config: Config{UserData: "#!/bin/sh\n"}, Build: "b",
		Image: types.Image{
			ImageId: aws.String("ami-1"), Architecture: types.ArchitectureValuesArm64, RootDeviceName: aws.String("/dev/xvda"),
			BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(2), DeleteOnTermination: aws.Bool(false)}},
				{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(7), DeleteOnTermination: aws.Bool(false)}},
				{DeviceName: aws.String("/dev/sdg"), VirtualName: aws.String("ephemeral0")},
			},
		},
	}
	in := test.request()
	require.Equal(t, types.HttpTokensStateRequired, in.MetadataOptions.HttpTokens)
	require.Equal(t, types.ShutdownBehaviorTerminate, in.InstanceInitiatedShutdownBehavior)
	require.EqualValues(t, typeArm, in.InstanceType)
	require.Len(t, in.BlockDeviceMappings, 2)
	require.EqualValues(t, 3, *in.BlockDeviceMappings[0].Ebs.VolumeSize)
	require.Nil(t, in.BlockDeviceMappings[1].Ebs.VolumeSize)
	for _, d := range in.BlockDeviceMappings {
		require.True(t, *d.Ebs.DeleteOnTermination)
	}
	require.Equal(t, encode("#!/bin/sh\n"), *in.UserData)
	for _, s := range in.TagSpecifications {
		require.Contains(t, s.Tags, types.Tag{Key: aws.String(tagTemporary), Value: aws.String("b")})
	}
	test.Image.Architecture = types.ArchitectureValuesX8664
	require.Equal(t, typeNoENA, test.instanceType())
	test.Image.EnaSupport = aws.Bool(true)
	require.Equal(t, typeX86, test.instanceType())
	test.SubnetID, test.AssociatePublicIP = "subnet-1", config.TriTrue
	in = test.request()
	require.Nil(t, in.SubnetId)
	require.Equal(t, "subnet-1", *in.NetworkInterfaces[0].SubnetId)
}

// Every call goes wrong in turn, in every way: nothing is left, or it is listed.
func TestEveryCallFails(t *testing.T) {
	matrix.Test(t, matrix.Run{
		Seed: seed,
		Do: func(ctx context.Context, c *matrix.Cloud) (string, error) {
			var say told
			test, err := newTest(ctx, c, &guest{}, &say)
			if err != nil {
				return "", err
			}
			err = test.Run(ctx)
			left := test.Owed.Settle(ctx, 20*time.Second)
			if err != nil {
				return say.String(), errors.Join(err, left)
			}
			if left != nil { // the test has passed; builders tell what is left
				say.say("%v", left)
			}
			return say.String(), nil
		},
		Done: func(ctx context.Context, c *matrix.Cloud) error {
			things, err := c.Things(ctx)
			if err == nil && len(things) != 2 {
				err = fmt.Errorf("there are %v, not an image and its snapshot", things)
			}
			return err
		},
		Removals: []string{"ec2:TerminateInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteKeyPair"},
		Skip:     []string{"ec2:DescribeImages"}, // before the test
	})
}
