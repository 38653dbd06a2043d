// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"crypto/ed25519"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Agent is the agent of a machine of the cloud; it knows what its metadata says.
type Agent struct {
	w       *World
	ID      string // of the machine
	key     ed25519.PrivateKey
	tokenID int64
	token   secret.String
	used    bool
	session fleet.Session
}

// UserData is the user-data that a machine was launched with.
func (w *World) UserData(machine string) string {
	w.T.Helper()
	out, err := w.EC2.DescribeInstanceAttribute(w.T.Context(), &ec2.DescribeInstanceAttributeInput{InstanceId: &machine, Attribute: types.InstanceAttributeNameUserData})
	require.NoError(w.T, err)
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(out.UserData.Value))
	require.NoError(w.T, err)
	return string(raw)
}

// Agent boots the agent of a machine, which reads its user-data.
func (w *World) Agent(machine string) *Agent {
	w.T.Helper()
	return w.AgentWith(machine, w.UserData(machine))
}

// AgentWith is an agent that has got user-data from anywhere.
func (w *World) AgentWith(machine, userData string) *Agent {
	w.T.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(w.T, err)
	a := &Agent{w: w, ID: machine, key: key}
	// The query form is one line; in MIME there is a script that writes a file.
	for _, item := range strings.FieldsFunc(userData, func(r rune) bool { return r == '&' || r == '\n' || r == '\r' }) {
		name, value, _ := strings.Cut(item, "=")
		switch value = strings.Trim(value, "'"); name {
		case "RS_rn_id", "client_id":
			a.tokenID, err = strconv.ParseInt(value, 10, 64)
			require.NoError(w.T, err)
		case "RS_rn_auth", "client_secret":
			a.token = secret.String(value)
		}
	}
	require.NotZero(w.T, a.tokenID, userData)
	return a
}

// Prove enrols by attestation.
func (a *Agent) Prove() error {
	t, ctx := a.w.T, a.w.T.Context()
	t.Helper()
	out, err := a.w.EC2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{a.ID}})
	require.NoError(t, err)
	machine := out.Reservations[0].Instances[0]
	doc, sig, err := a.w.authority.Document(imds.Instance{ID: a.ID, ImageID: *machine.ImageId, Account: a.w.Local.Info().Account, Region: Region, LaunchTime: *machine.LaunchTime})
	require.NoError(t, err)
	challenge, err := a.w.Fleet.Challenge(ctx, a.tokenID)
	require.NoError(t, err)
	p := wire.Proof{Nonce: challenge.Nonce, PublicKey: a.key.Public().(ed25519.PublicKey), Document: doc, DocumentSignature: sig}
	p.Signature = ed25519.Sign(a.key, p.Message(strconv.FormatInt(a.tokenID, 10)))
	req := fleet.ProofRequest{TokenID: a.tokenID, Account: fleet.DefaultAccount, Proof: p}
	if !a.used {
		req.Token = a.token
	}
	grant, err := a.w.Fleet.Prove(ctx, req)
	if err != nil {
		return err
	}
	a.used = true
	a.session, err = a.w.Fleet.Session(ctx, grant.Bearer)
	return err
}

// Login enrols with the token alone.
func (a *Agent) Login() error {
	bearer, err := a.w.Fleet.Login(a.w.T.Context(), a.tokenID, fleet.DefaultAccount, a.token)
	if err != nil {
		return err
	}
	a.session, err = a.w.Fleet.Session(a.w.T.Context(), bearer)
	return err
}

// Declare says which machine it is on.
func (a *Agent) Declare() error {
	_, err := a.w.Fleet.Declare(a.w.T.Context(), a.session, wire.DeclareRequest{RSVersion: wire.ProtocolVersion, RightLinkVersion: "1.0", ResourceUID: a.ID, Cloud: "ec2"})
	return err
}

// Boot enrols, and reports that it is operational.
func (a *Agent) Boot() *Agent {
	a.w.T.Helper()
	require.NoError(a.w.T, a.Prove())
	require.NoError(a.w.T, a.Declare())
	a.Record(wire.StateBooting, "")
	a.Record(wire.StateOperational, "")
	return a
}

// Record reports a state.
func (a *Agent) Record(state, kind string) {
	a.w.T.Helper()
	require.NoError(a.w.T, a.w.Fleet.RecordState(a.w.T.Context(), a.session, wire.StateRecord{State: state, Kind: kind}))
}

// Take takes the next event.
func (a *Agent) Take() (wire.Event, bool) {
	a.w.T.Helper()
	events, err := a.w.Fleet.Events(a.w.T.Context(), a.session, "rs.example.net")
	require.NoError(a.w.T, err)
	if len(events) == 0 {
		return wire.Event{}, false
	}
	require.NoError(a.w.T, a.w.Fleet.AckEvent(a.w.T.Context(), a.session, events[0].UUID))
	return events[0], true
}

// Self is the agent's instance as the platform knows it.
func (a *Agent) Self() string {
	a.w.T.Helper()
	inst, _, err := a.w.Fleet.Self(a.w.T.Context(), a.session)
	require.NoError(a.w.T, err)
	return fleet.InstanceHref(inst)
}
