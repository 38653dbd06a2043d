// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package cloudtest gives tests a platform beside a real local cloud whose
// machines are only records, with agents that enrol from there.
package cloudtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local"
	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/store/storetest"
)

// Region is where everything happens.
const Region = "eu-west-1"

// World is a platform and a cloud.
type World struct {
	T         *testing.T
	Dir       string // the platform's data directory
	database  string // empty for a SQLite file in Dir
	Local     *local.Server
	Fleet     *fleet.Service
	Launch    *launch.Service
	Cloud     store.Cloud
	AWS       aws.Config // of whoever else uses the cloud
	EC2       *ec2.Client
	Image     string // registered in the cloud
	authority *imds.Authority
	skew      atomic.Int64
}

// New starts both, and adds the cloud to the platform.
func New(t *testing.T) *World {
	t.Helper()
	w := &World{T: t, Dir: t.TempDir()}
	if storetest.Kind() != "" { // else the test of a command, which wants all in the directory
		w.database = storetest.URL(t)
	}
	w.startCloud()
	w.startPlatform()
	made, err := w.Launch.AddCloud(t.Context(), fleet.DefaultAccount, launch.CloudSpec{
		Name: "local", Region: Region, EndpointURL: w.Local.Info().Endpoint, AccessKey: "local", SecretKey: "secret", Discover: time.Minute}, "test")
	require.NoError(t, err)
	w.Cloud = made[0]
	return w
}

func (w *World) startCloud() {
	w.T.Helper()
	var err error
	w.Local, err = local.New(local.Config{Listen: "127.0.0.1:0", StateDir: w.T.TempDir(), NoBoot: true, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	require.NoError(w.T, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Local.Run(ctx) }()
	w.T.Cleanup(func() { stop(); require.NoError(w.T, <-done) })
	cfg := aws.Config{Region: Region, BaseEndpoint: aws.String(w.Local.Info().Endpoint), Credentials: credentials.NewStaticCredentialsProvider("local", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	w.AWS, w.EC2 = cfg, ec2.NewFromConfig(cfg)
	w.Image = w.image(ebs.NewFromConfig(cfg))
}

// image registers an image of one block.
func (w *World) image(client *ebs.Client) string {
	w.T.Helper()
	ctx := w.T.Context()
	snap, err := client.StartSnapshot(ctx, &ebs.StartSnapshotInput{VolumeSize: aws.Int64(1)})
	require.NoError(w.T, err)
	block := bytes.Repeat([]byte{7}, 512<<10)
	sum := sha256.Sum256(block)
	_, err = client.PutSnapshotBlock(ctx, &ebs.PutSnapshotBlockInput{SnapshotId: snap.SnapshotId, BlockIndex: aws.Int32(0), BlockData: bytes.NewReader(block),
		DataLength: aws.Int32(int32(len(block))), Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])), ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256})
	require.NoError(w.T, err)
	_, err = client.CompleteSnapshot(ctx, &ebs.CompleteSnapshotInput{SnapshotId: snap.SnapshotId, ChangedBlocksCount: aws.Int32(1)})
	require.NoError(w.T, err)
	require.NoError(w.T, ec2.NewSnapshotCompletedWaiter(w.EC2, func(o *ec2.SnapshotCompletedWaiterOptions) { o.MinDelay = 10 * time.Millisecond }).
		Wait(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*snap.SnapshotId}}, 10*time.Second))
	out, err := w.EC2.RegisterImage(ctx, &ec2.RegisterImageInput{Name: aws.String("demo"), Architecture: types.ArchitectureValuesX8664, VirtualizationType: aws.String("hvm"),
		EnaSupport: aws.Bool(true), RootDeviceName: aws.String("/dev/xvda"),
		BlockDeviceMappings: []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: snap.SnapshotId}}}})
	require.NoError(w.T, err)
	return *out.ImageId
}

func (w *World) startPlatform() {
	w.T.Helper()
	f := w.Open()
	tmpl, err := servertemplate.Load(filepath.Join(root(w.T), "platform", "servertemplate", "testdata", "web", "web.yml"))
	require.NoError(w.T, err)
	_, err = f.UploadTemplate(w.T.Context(), fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
	require.NoError(w.T, err)
	require.NoError(w.T, f.DB.SetSetting(w.T.Context(), fleet.SettingPublicHost, "rs.example.net"))
	dir := w.T.TempDir()
	w.authority, err = imds.OpenAuthority(dir)
	require.NoError(w.T, err)
	file := filepath.Join(dir, "certificate.pem")
	require.NoError(w.T, os.WriteFile(file, w.authority.Certificate(), 0o600))
	f.Attest.Trust.Files = []string{file}
	w.Fleet = f
	w.Launch = w.Machines(f)
}

// Open opens the platform's data directory once more, as another process would.
func (w *World) Open() *fleet.Service {
	w.T.Helper()
	f, err := fleet.OpenAt(w.T.Context(), fleet.Place{Dir: w.Dir, Database: w.database})
	require.NoError(w.T, err)
	w.T.Cleanup(func() { _ = f.Close() })
	f.Now = func() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }
	return f
}

// Machines makes a launch service in a hurry.
func (w *World) Machines(f *fleet.Service) *launch.Service {
	m := launch.New(f, slog.New(slog.DiscardHandler))
	m.Pace = 0.001
	return m
}

// Advance moves the platform's clock on.
func (w *World) Advance(d time.Duration) { w.skew.Add(int64(d)) }

// Server makes a server that can be launched.
func (w *World) Server(name string, change ...func(*fleet.ServerSpec)) store.Server {
	w.T.Helper()
	spec := fleet.ServerSpec{Name: name, Template: "Test web", Launch: store.Launch{CloudID: w.Cloud.ID, ImageUID: w.Image, InstanceType: "t3.micro"}}
	for _, f := range change {
		f(&spec)
	}
	server, err := w.Fleet.CreateServer(w.T.Context(), fleet.DefaultAccount, spec)
	require.NoError(w.T, err)
	return server
}

// Fault makes calls to the cloud go wrong.
func (w *World) Fault(r fault.Rule) fault.Rule {
	w.T.Helper()
	r, err := w.Local.Faults().Add(r)
	require.NoError(w.T, err)
	return r
}

// Work works on jobs until check holds.
func (w *World) Work(what string, check func() bool) {
	w.T.Helper()
	for deadline := time.Now().Add(20 * time.Second); !check(); {
		require.NoError(w.T, w.Launch.WorkOff(w.T.Context()))
		require.True(w.T, time.Now().Before(deadline), "%s: it did not come to that", what)
		time.Sleep(5 * time.Millisecond)
	}
}

// Idle works on jobs until none is left.
func (w *World) Idle() {
	w.T.Helper()
	w.Work("no job is left", func() bool {
		n, err := w.Fleet.DB.ActiveJobs(w.T.Context(), w.Cloud.ID)
		require.NoError(w.T, err)
		return n == 0
	})
}

// Instance is an instance of the platform.
func (w *World) Instance(id int64) store.Instance {
	w.T.Helper()
	i, err := w.Fleet.DB.Instance(w.T.Context(), id)
	require.NoError(w.T, err)
	return i
}

// StateOf is the state of a server.
func (w *World) StateOf(server store.Server) string {
	w.T.Helper()
	s, err := w.Fleet.DB.Server(w.T.Context(), server.ID)
	require.NoError(w.T, err)
	return s.State
}

// Current is the newest instance of a server.
func (w *World) Current(server store.Server) store.Instance {
	w.T.Helper()
	_, inst, err := w.Fleet.Current(w.T.Context(), &w.Fleet.DB.Queries, server)
	require.NoError(w.T, err)
	return inst
}

// Cloudly lists the machines of the cloud, by id, with their states.
func (w *World) Cloudly() map[string]string {
	w.T.Helper()
	out, err := w.EC2.DescribeInstances(w.T.Context(), &ec2.DescribeInstancesInput{})
	require.NoError(w.T, err)
	machines := map[string]string{}
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			machines[*i.InstanceId] = string(i.State.Name)
		}
	}
	return machines
}

// Alive counts the machines that cost money.
func (w *World) Alive() (n int) {
	w.T.Helper()
	for _, state := range w.Cloudly() {
		if state != "terminated" && state != "shutting-down" {
			n++
		}
	}
	return n
}

// Trail is the summaries of a server's audit entries, in one text.
func (w *World) Trail(server store.Server) string {
	w.T.Helper()
	entries, err := w.Fleet.DB.AuditEntries(w.T.Context(), store.AuditFilter{AccountID: fleet.DefaultAccount, ServerID: server.ID})
	require.NoError(w.T, err)
	text := ""
	for _, e := range entries {
		text += e.Summary + "\n"
	}
	return text
}

// root finds the top of the repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		require.NotEqual(t, filepath.Dir(dir), dir, "go.mod is nowhere above")
		dir = filepath.Dir(dir)
	}
}
