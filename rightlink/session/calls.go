// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"

	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// Healthy asks the API for its health, without the token.
func (s *Session) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	_, base := s.current()
	_, err := s.once(ctx, base, call{method: http.MethodGet, path: wire.PathHealthCheck}, "")
	return err
}

// ErrNoSelf says that the platform did not tell the instance's own href.
var ErrNoSelf = errors.New("the platform's answer has no link \"self\"")

// SelfHref returns the href of this instance on the platform.
func (s *Session) SelfHref(ctx context.Context) (string, error) {
	var instance wire.Instance
	_, err := s.do(ctx, call{method: http.MethodGet, path: wire.PathSessionsInstance, out: &instance, policy: CallPolicy()})
	if err != nil {
		return "", err
	}
	if href := instance.Href("self"); href != "" {
		return href, nil
	}
	return "", fmt.Errorf("GET %s: %w", wire.PathSessionsInstance, ErrNoSelf)
}

// Declare announces the agent and returns its id on the platform.
func (s *Session) Declare(ctx context.Context, d wire.DeclareRequest) (string, error) {
	d.RSVersion, d.RightLinkVersion = wire.ProtocolVersion, s.opt.Version
	var answer wire.DeclareResponse
	_, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathDeclare, in: d, out: &answer, policy: CallPolicy()})
	return answer.AgentID, err
}

// BootBundle returns the boot scripts. auditID may be 0.
func (s *Session) BootBundle(ctx context.Context, auditID int64) (wire.ExecutableBundle, error) {
	query := url.Values{}
	if auditID > 0 {
		query.Set("audit_id", strconv.FormatInt(auditID, 10))
	}
	var bundle wire.ExecutableBundle
	_, err := s.do(ctx, call{method: http.MethodGet, path: wire.PathBootBundle, query: query, out: &bundle, policy: CallPolicy()})
	return bundle, err
}

// MissingAttributes returns those of the scripts that are complete now.
func (s *Session) MissingAttributes(ctx context.Context, ids []int64) ([]wire.RightScript, error) {
	query := url.Values{}
	for _, id := range ids {
		query.Add("scripts_ids[]", strconv.FormatInt(id, 10))
	}
	var scripts []wire.RightScript
	_, err := s.do(ctx, call{method: http.MethodGet, path: wire.PathMissingAttributes, query: query, out: &scripts, policy: CallPolicy()})
	return scripts, err
}

// DecommissionBundle returns the scripts to run before the machine goes. It
// is tried once: the shutdown does not wait for a platform that is away.
func (s *Session) DecommissionBundle(ctx context.Context) (wire.ExecutableBundle, error) {
	var bundle wire.ExecutableBundle
	_, err := s.do(ctx, call{method: http.MethodGet, path: wire.PathDecommissionBundle, out: &bundle, policy: NoRetry()})
	return bundle, err
}

// Record reports a state once; the caller repeats, because a refusal can name
// the state to start from (RecordedState).
func (s *Session) Record(ctx context.Context, r wire.StateRecord) error {
	_, err := s.do(ctx, call{method: http.MethodPut, path: wire.PathRecordState, in: r, policy: NoRetry()})
	return err
}

// CreateAudit opens an audit entry and returns its id.
func (s *Session) CreateAudit(ctx context.Context, e wire.AuditEntry) (int64, error) {
	header, err := s.do(ctx, call{method: http.MethodPost, path: wire.PathAuditEntries, in: e, policy: CallPolicy()})
	if err != nil {
		return 0, err
	}
	location := header.Get("Location")
	id, err := strconv.ParseInt(path.Base(location), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("POST %s: Location %q ends with no number", wire.PathAuditEntries, location)
	}
	return id, nil
}

// AppendAudit adds text to an audit entry. Repeating it is safe: the offset
// says where the text belongs.
func (s *Session) AppendAudit(ctx context.Context, id int64, a wire.AuditAppend) error {
	target := wire.PathAuditEntries + "/" + strconv.FormatInt(id, 10) + "/append"
	_, err := s.do(ctx, call{method: http.MethodPost, path: target, in: a, policy: CallPolicy()})
	return err
}
