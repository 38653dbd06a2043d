// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/platform/rightscript"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
	"github.com/rightimage/packer-plugin-rightimage/platform/wire"
)

// resolver finds the values of inputs for one instance. The value that counts
// is the highest one given: instance, else server, else deployment, else
// ServerTemplate, else the script's own default.
type resolver struct {
	s      *Service
	q      *store.Queries
	inst   store.Instance
	server store.Server
	own    map[string]string // what env: can name on this instance
	levels []map[string]rightscript.Value
}

func (s *Service) newResolver(ctx context.Context, q *store.Queries, sess Session, host string, inst store.Instance, server store.Server) (*resolver, error) {
	levels, err := inputLevels(ctx, q, server, inst.ID)
	if err != nil {
		return nil, err
	}
	own := environment(inst, server)
	own["RS_SERVER"] = host
	own["RS_RN_ID"] = fmt.Sprint(sess.Token.ID)
	return &resolver{s: s, q: q, inst: inst, server: server, own: own, levels: levels}, nil
}

// environment is what the platform knows about an instance under the names that
// scripts know from metadata and user-data. Unknown values are left out.
func environment(inst store.Instance, server store.Server) map[string]string {
	env := map[string]string{
		"RS_ACCOUNT":        fmt.Sprint(server.AccountID),
		"RS_SERVER_NAME":    server.Name,
		"RS_INSTANCE_UUID":  inst.UID,
		"RS_CLOUD_PROVIDER": inst.Cloud,
		"EC2_INSTANCE_ID":   inst.ResourceUID,
		"INSTANCE_ID":       inst.ResourceUID,
		"EC2_AMI_ID":        inst.ImageUID,
	}
	if len(inst.PublicIPs) > 0 {
		env["EC2_PUBLIC_IPV4"], env["RS_PUBLIC_IP"], env["PUBLIC_IP"] = inst.PublicIPs[0], inst.PublicIPs[0], inst.PublicIPs[0]
	}
	if len(inst.PrivateIPs) > 0 {
		env["EC2_LOCAL_IPV4"], env["RS_PRIVATE_IP"], env["PRIVATE_IP"] = inst.PrivateIPs[0], inst.PrivateIPs[0], inst.PrivateIPs[0]
	}
	for name, value := range env {
		if value == "" {
			delete(env, name)
		}
	}
	return env
}

type resolved struct {
	values  map[string]string
	flags   map[string][]string // name → unready
	secrets []string
}

func (r *resolver) resolve(ctx context.Context, inputs []rightscript.Input) (resolved, error) {
	res := resolved{values: map[string]string{}}
	for _, in := range inputs {
		value := r.pick(in)
		if value.IsZero() || value.Kind == rightscript.KindIgnore {
			if in.Required {
				res.unready(in.Name)
			}
			continue
		}
		text, private, err := r.text(ctx, value)
		switch {
		case errors.Is(err, errNotReady):
			res.unready(in.Name)
			continue
		case err != nil:
			return res, fmt.Errorf("input %s: %w", in.Name, err)
		}
		res.values[in.Name] = text
		if private {
			res.secrets = append(res.secrets, in.Name)
		}
	}
	return res, nil
}

func (res *resolved) unready(name string) {
	if res.flags == nil {
		res.flags = map[string][]string{}
	}
	res.flags[name] = []string{wire.FlagUnready}
}

// pick finds the highest level that gives a value.
func (r *resolver) pick(in rightscript.Input) rightscript.Value {
	for _, level := range r.levels {
		if v, ok := level[in.Name]; ok && v.Kind != rightscript.KindInherit {
			return v
		}
	}
	return in.Default
}

// errNotReady says that a value was asked for but is not known (yet): the
// script must wait for it, required or not, since somebody wanted it set.
var errNotReady = errors.New("value is not known yet")

// text returns the value as the script will see it, and whether it is secret.
func (r *resolver) text(ctx context.Context, v rightscript.Value) (text string, private bool, err error) {
	switch v.Kind {
	case rightscript.KindText:
		return v.Text, false, nil
	case rightscript.KindBlank:
		return "", false, nil
	case rightscript.KindCred:
		text, err = r.credential(ctx, v.Text)
		return text, true, err
	case rightscript.KindEnv:
		text, err = r.env(ctx, v)
		return text, false, err
	case rightscript.KindArray:
		// RightScripts see an array as one comma-separated string.
		items := make([]string, len(v.Items))
		for i, item := range v.Items {
			one, p, err := r.text(ctx, item)
			if err != nil {
				return "", false, err
			}
			items[i], private = one, private || p
		}
		return strings.Join(items, ","), private, nil
	default: // key: there are no SSH keys yet
		return "", false, errNotReady
	}
}

func (r *resolver) credential(ctx context.Context, name string) (string, error) {
	c, err := r.q.Credential(ctx, r.server.AccountID, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", errNotReady
	}
	if err != nil {
		return "", err
	}
	return r.s.openCredential(c)
}

func (r *resolver) env(ctx context.Context, v rightscript.Value) (string, error) {
	env := r.own
	if v.Component != "" {
		server, err := r.q.ServerByName(ctx, r.server.AccountID, v.Component)
		if errors.Is(err, store.ErrNotFound) {
			return "", errNotReady
		}
		if err != nil {
			return "", err
		}
		_, inst, err := r.s.current(ctx, r.q, server)
		if err != nil {
			return "", err
		}
		if !alive(inst) {
			return "", errNotReady
		}
		env = environment(inst, server)
	}
	text, ok := env[strings.ToUpper(v.Text)]
	if !ok {
		return "", errNotReady
	}
	return text, nil
}
