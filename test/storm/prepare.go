// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package storm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/local/imds"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/servertemplate"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
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
	if err := s.makeMachines(ctx, authority, templateID); err != nil {
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
	return s.fleet.UploadTemplate(ctx, fleet.By{Account: fleet.DefaultAccount, Who: "test"}, tmpl)
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

// makeMachines makes the identity documents of the instances, and a server for
// each agent.
func (s *storm) makeMachines(ctx context.Context, authority *imds.Authority, templateID int64) error {
	s.machines = make([]machine, s.Agents)
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for i := range s.machines {
		group.Go(func() (err error) {
			m := machine{server: fmt.Sprintf("storm-%05d", i), uid: fmt.Sprintf("i-%017x", i), release: "10.6.0"}
			if !s.Legacy {
				m.doc, m.sig, err = authority.Document(imds.Instance{ID: m.uid, ImageID: "ami-1", Account: account, Region: "eu-west-1", LaunchTime: time.Now()})
			}
			s.machines[i] = m
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.inBatches(ctx, s.Agents, func(q *store.Queries, i int) (err error) {
		s.machines[i].id, err = s.makeServer(ctx, q, templateID, s.machines[i].server)
		return err
	})
}

// makeServer does what "server create" does, many in one transaction.
func (s *storm) makeServer(ctx context.Context, q *store.Queries, templateID int64, name string) (identity.Identity, error) {
	now, id := time.Now(), identity.Identity{Account: "1", APIHostname: host + ":443"}
	enrolment := wire.EnrolAttested
	if s.Legacy {
		enrolment = wire.EnrolLegacy
	}
	server, err := q.CreateServer(ctx, store.Server{AccountID: fleet.DefaultAccount, Name: name, TemplateID: templateID, State: wire.StateInactive,
		Enrolment: enrolment, Allow: []byte(`{}`)}, nil, now)
	if err != nil {
		return id, err
	}
	instance, err := q.CreateInstance(ctx, store.Instance{AccountID: fleet.DefaultAccount, CloudID: 1, ServerID: server, UID: strings.ToUpper(name), State: wire.StatePending}, now)
	if err != nil {
		return id, err
	}
	noise := make([]byte, 20)
	_, _ = rand.Read(noise) // never fails, see crypto/rand
	token := hex.EncodeToString(noise)
	hash := sha256.Sum256([]byte(token))
	n, err := q.CreateEnrolmentToken(ctx, store.EnrolmentToken{ServerID: server, InstanceID: instance, Hash: hash[:], Sealed: []byte{}}, now)
	if err != nil {
		return id, err
	}
	id.ClientID, id.ClientSecret = strconv.FormatInt(n, 10), secret.String(token)
	return id, q.SetAgentID(ctx, n, fleet.AgentID(n, token))
}

// batch is how many objects one transaction of the preparation makes.
const batch = 250

func (s *storm) inBatches(ctx context.Context, count int, do func(q *store.Queries, i int) error) error {
	for from := 0; from < count; from += batch {
		err := s.fleet.DB.InTx(ctx, func(q *store.Queries) error {
			for i := from; i < min(from+batch, count); i++ {
				if err := do(q, i); err != nil {
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

// populate fills the database with agents that have booted before.
func (s *storm) populate(ctx context.Context, templateID int64) error {
	return s.inBatches(ctx, s.Known, func(q *store.Queries, i int) error { return known(ctx, q, templateID, i) })
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
