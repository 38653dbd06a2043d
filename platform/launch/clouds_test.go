// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
	"github.com/rightimage/packer-plugin-rightimage/platform/cloudtest"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/launch"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

const trust = `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::000000000000:root"]},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"right"}}}]}`

// A role is assumed for every call, discovery's and the launches'.
func TestAssumedRole(t *testing.T) {
	w := cloudtest.New(t)
	role, err := iam.NewFromConfig(w.AWS).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("platform"), AssumeRolePolicyDocument: aws.String(trust)})
	require.NoError(t, err)
	spec := launch.CloudSpec{Name: "role", Region: cloudtest.Region, EndpointURL: w.Local.Info().Endpoint, AccessKey: "local", SecretKey: "secret",
		RoleARN: *role.Role.Arn, ExternalID: "wrong"}
	_, err = w.Launch.AddCloud(t.Context(), fleet.DefaultAccount, spec, "ann")
	require.ErrorContains(t, err, "trust policy")
	var invalid *fleet.InvalidError
	require.ErrorAs(t, err, &invalid)
	spec.ExternalID = "right"
	made, err := w.Launch.AddCloud(t.Context(), fleet.DefaultAccount, spec, "ann")
	require.NoError(t, err)
	before := w.Local.Faults().Calls()["sts:AssumeRole"]
	server := w.Server("web", func(s *fleet.ServerSpec) { s.Launch.CloudID = made[0].ID })
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	require.Equal(t, made[0].ID, inst.CloudID)
	require.Equal(t, before+1, w.Local.Faults().Calls()["sts:AssumeRole"], "once, and kept")
	for range 3 {
		require.NoError(t, w.Launch.WorkOff(t.Context()))
	}
	require.Equal(t, before+1, w.Local.Faults().Calls()["sts:AssumeRole"])
}

// The secret key is nowhere in the data directory in the clear, and neither is
// the user-data of a launch that waits.
func TestNothingSecretOnDisk(t *testing.T) {
	w := cloudtest.New(t)
	_, err := w.Launch.AddCloud(t.Context(), fleet.DefaultAccount, launch.CloudSpec{Name: "second", Region: cloudtest.Region, EndpointURL: w.Local.Info().Endpoint,
		AccessKey: "AKIASECOND", SecretKey: "s3cret/of+the=cloud", SessionToken: "t0ken/of+the=cloud"}, "ann")
	require.NoError(t, err)
	w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	_, err = w.Launch.Launch(t.Context(), w.Server("web").ID, nil, "ann")
	require.NoError(t, err)
	var id string
	for id = range w.Cloudly() {
	}
	doc := w.UserData(id)
	require.Contains(t, doc, "client_secret=")
	require.NoError(t, filepath.WalkDir(w.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, hidden := range []string{"s3cret/of+the=cloud", "t0ken/of+the=cloud", doc} {
			require.NotContains(t, string(raw), hidden, path)
		}
		return err
	}))
}

// A legacy token works for whoever comes first. If that is not the machine that
// was launched, neither stays.
func TestStolenLegacyToken(t *testing.T) {
	w := cloudtest.New(t)
	server := w.Server("web", func(s *fleet.ServerSpec) { s.Enrolment = wire.EnrolLegacy })
	lost := w.Fault(fault.Rule{Action: "RunInstances", Kind: fault.LostReply})
	inst, err := w.Launch.Launch(t.Context(), server.ID, nil, "ann")
	require.NoError(t, err)
	var id string
	for id = range w.Cloudly() {
	}
	thief := w.AgentWith("i-0123456789abcdef0", w.UserData(id))
	require.NoError(t, thief.Login())
	require.NoError(t, thief.Declare())
	w.Local.Faults().Remove(lost.ID)
	w.Idle()
	require.NoError(t, w.Launch.Watch(t.Context()))
	w.Idle()
	require.Zero(t, w.Alive())
	require.Equal(t, wire.StateTerminated, w.Instance(inst.ID).State)
	require.Equal(t, wire.StateInactive, w.StateOf(server))
	require.Contains(t, w.Trail(server), "another machine has enrolled with the token of this launch")
	require.Error(t, thief.Login(), "its token is revoked")
}
