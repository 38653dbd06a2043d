// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
	"github.com/rightimage/packer-plugin-rightimage/rightlink/identity"
)

//go:embed template
var template embed.FS

// account is the cloud account of all instances.
const account = "123456789012"

// prepare makes the database, the servers and the agents, and starts the
// replicas.
func (s *storm) prepare(ctx context.Context) error {
	authority, err := imds.OpenAuthority(s.Dir)
	if err != nil {
		return err
	}
	certificate := filepath.Join(s.Dir, "identity.pem")
	if err := os.WriteFile(certificate, authority.Certificate(), 0o600); err != nil {
		return err
	}
	first := filepath.Join(s.Dir, "replica-0")
	if s.fleet, err = fleet.OpenAt(ctx, fleet.Place{Dir: first, Database: s.Database}); err != nil {
		return err
	}
	templateID, err := s.upload(ctx)
	if err != nil {
		return err
	}
	if err := s.populate(ctx, templateID); err != nil {
		return err
	}
	if err := s.serve(ctx, first, certificate); err != nil {
		return err
	}
	roots, err := authorities(filepath.Join(first, "tls", "ca.pem"))
	if err != nil {
		return err
	}
	if err := s.makeMachines(ctx, authority); err != nil {
		return err
	}
	for _, m := range s.machines {
		a, err := newAgent(m, &s.way, roots, s.record, s.clock)
		if err != nil {
			return err
		}
		s.agents = append(s.agents, a)
	}
	return nil
}

func (s *storm) upload(ctx context.Context) (id int64, err error) {
	dir := filepath.Join(s.Dir, "upload")
	if err := os.CopyFS(dir, template); err != nil {
		return 0, err
	}
	tmpl, err := servertemplate.Load(filepath.Join(dir, "template", "storm.yml"))
	if err != nil {
		return 0, err
	}
	return s.fleet.UploadTemplate(ctx, fleet.DefaultAccount, tmpl)
}

// serve starts the replicas. They share the key and the authority.
func (s *storm) serve(ctx context.Context, first, certificate string) error {
	for i := range s.Replicas {
		r := &replica{binary: s.Binary, data: filepath.Join(s.Dir, fmt.Sprint("replica-", i)), database: s.Database, identity: certificate, listen: "127.0.0.1:0"}
		if i > 0 {
			if err := share(first, r.data); err != nil {
				return err
			}
		}
		if err := r.start(ctx); err != nil {
			return err
		}
		s.replicas = append(s.replicas, r)
	}
	var addresses []string
	for _, r := range s.replicas {
		addresses = append(addresses, r.listen)
	}
	s.way.set(addresses)
	return nil
}

// share gives another replica what docs/operations.md says.
func share(from, to string) error {
	if err := os.CopyFS(filepath.Join(to, "tls"), os.DirFS(filepath.Join(from, "tls"))); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(from, "secret.key"))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "secret.key"), key, 0o600)
}

func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("the platform's ca.pem holds no certificate")
	}
	return pool, nil
}

// makeMachines makes a server for each agent and the identity documents of the
// instances.
func (s *storm) makeMachines(ctx context.Context, authority *imds.Authority) error {
	s.machines = make([]machine, s.Agents)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range s.machines {
		group.Go(func() error {
			m, err := s.makeMachine(ctx, authority, i)
			s.machines[i] = m
			return err
		})
	}
	return group.Wait()
}

func (s *storm) makeMachine(ctx context.Context, authority *imds.Authority, i int) (machine, error) {
	m := machine{server: fmt.Sprintf("storm-%05d", i), uid: fmt.Sprintf("i-%017x", i), release: "10.6.0"}
	enrolment := wire.EnrolAttested
	if s.Legacy {
		enrolment = wire.EnrolLegacy
	}
	if _, err := s.fleet.CreateServer(ctx, fleet.DefaultAccount, fleet.ServerSpec{Name: m.server, Template: "Storm", Enrolment: enrolment}); err != nil {
		return m, err
	}
	doc, err := s.fleet.UserData(ctx, fleet.DefaultAccount, m.server, userdata.FormQuery, host+":443")
	if err != nil {
		return m, err
	}
	m.id = identity.Identity{Account: "1", APIHostname: host + ":443"}
	for item := range strings.SplitSeq(doc, "&") {
		switch key, value, _ := strings.Cut(item, "="); key {
		case "RS_rn_id":
			m.id.ClientID = value
		case "RS_rn_auth":
			m.id.ClientSecret = secret.String(value)
		}
	}
	if !s.Legacy {
		m.doc, m.sig, err = authority.Document(imds.Instance{ID: m.uid, ImageID: "ami-1", Account: account, Region: "eu-west-1", LaunchTime: time.Now()})
	}
	return m, err
}

// knownBatch is how many known agents one transaction makes.
const knownBatch = 250

// populate fills the database with agents that have booted before.
func (s *storm) populate(ctx context.Context, templateID int64) error {
	for from := 0; from < s.Known; from += knownBatch {
		err := s.fleet.DB.InTx(ctx, func(q *store.Queries) error {
			for i := from; i < min(from+knownBatch, s.Known); i++ {
				if err := known(ctx, q, templateID, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// known writes what an agent leaves behind that has enrolled and booted.
func known(ctx context.Context, q *store.Queries, templateID int64, i int) error {
	now, name, uid := time.Now(), fmt.Sprintf("known-%06d", i), fmt.Sprintf("i-%017x", 1<<40+i)
	server, err := q.CreateServer(ctx, store.Server{AccountID: fleet.DefaultAccount, Name: name, TemplateID: templateID, State: wire.StateOperational,
		Enrolment: wire.EnrolAttested, Allow: []byte(`{}`)}, nil, now)
	if err != nil {
		return err
	}
	inst := store.Instance{AccountID: fleet.DefaultAccount, CloudID: 1, ServerID: server, UID: strings.ToUpper(strconv.FormatInt(int64(1<<40+i), 16)), State: wire.StatePending}
	if inst.ID, err = q.CreateInstance(ctx, inst, now); err != nil {
		return err
	}
	noise := make([]byte, 64)
	_, _ = rand.Read(noise) // never fails, see crypto/rand
	token, err := q.CreateEnrolmentToken(ctx, store.EnrolmentToken{ServerID: server, InstanceID: inst.ID, Hash: noise[:32], Sealed: noise, AgentID: name}, now)
	if err != nil {
		return err
	}
	inst.ResourceUID, inst.Cloud, inst.ImageUID, inst.RightLinkVersion = uid, "ec2", "ami-1", "10.6.0"
	err = errors.Join(q.DeclareInstance(ctx, inst, now), q.MarkAttested(ctx, inst.ID, uid, now),
		q.SetInstanceState(ctx, inst.ID, wire.StateOperational, time.Time{}, now),
		q.PutAttestation(ctx, store.Attestation{TokenID: token, InstanceUID: uid, Account: account, Region: "eu-west-1", Image: "ami-1", PendingAt: now, PublicKey: noise[:32], KeySince: now, CreatedAt: now}),
		q.CreateAccessToken(ctx, noise[:32], token, now.Add(fleet.SessionTime), now),
		q.AddStateChange(ctx, store.StateChange{InstanceID: inst.ID, From: wire.StatePending, To: wire.StateBooting, At: now}),
		q.AddStateChange(ctx, store.StateChange{InstanceID: inst.ID, From: wire.StateBooting, To: wire.StateOperational, At: now}))
	if err != nil {
		return err
	}
	for n := range 7 {
		e := store.AuditEntry{AccountID: fleet.DefaultAccount, ServerID: server, InstanceID: inst.ID, AuditeeHref: fleet.InstanceHref(inst), Summary: fmt.Sprint("known ", n), Notify: "None"}
		if e.ID, err = q.CreateAuditEntry(ctx, e, now); err != nil {
			return err
		}
		if err := q.AddDetailPart(ctx, e.ID, store.DetailPart{Content: []byte(output)}); err != nil {
			return err
		}
	}
	return nil
}
