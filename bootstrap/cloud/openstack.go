// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// openstack is OpenStack: a config drive if there is one, which needs no
// network, else the metadata service. Metadata has EC2's names, as in the
// original; what OpenStack adds is in the folder "openstack".
type openstack struct {
	*imds

	o Options
}

func newOpenStack(o Options) Cloud {
	m := newIMDS(o)
	m.plain = true
	return openstack{m, o}
}

func recogniseOpenStack(h Hints) bool {
	return strings.HasPrefix(h.ProductName, "OpenStack") || h.ChassisAssetTag == "OpenTelekomCloud" || h.ChassisAssetTag == "HUAWEICLOUD"
}

func (openstack) Name() string      { return "openstack" }
func (openstack) EnvPrefix() string { return "EC2_" }

const (
	novaMeta     = "openstack/latest/meta_data.json"
	novaUserData = "openstack/latest/user_data"
	novaEC2      = "ec2/latest/meta-data.json"
)

// drive reads the config drive; nil when there is none.
func (c openstack) drive() (map[string][]byte, error) {
	files, err := readDrive(c.o.Root, []string{"config-2", "CONFIG-2"}, []string{novaMeta, novaUserData, novaEC2})
	if errors.Is(err, ErrAbsent) {
		return nil, nil
	}
	if err == nil && len(files) == 0 {
		err = errors.New("config drive: it has none of OpenStack's files")
	}
	return files, err
}

func (c openstack) UserData(ctx context.Context) ([]byte, error) {
	files, err := c.drive()
	if err != nil {
		return nil, err
	}
	if files != nil {
		if data := files[novaUserData]; len(data) > 0 {
			return data, nil
		}
		return nil, ErrAbsent
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
	defer cancel()
	body, err := c.once(ctx, "/"+novaUserData)
	return []byte(body), err
}

// nova is OpenStack's own document.
func (c openstack) nova(ctx context.Context) (*Tree, error) {
	files, err := c.drive()
	if err != nil {
		return nil, err
	}
	text := string(files[novaMeta])
	if files == nil {
		ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
		defer cancel()
		if text, err = c.once(ctx, "/"+novaMeta); err != nil {
			return nil, err
		}
	}
	t, err := parseJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", novaMeta, err)
	}
	t.drop(nil, func(path []string) bool { return path[0] == "admin_pass" || path[0] == "random_seed" })
	return t, nil
}

// InstanceID is the UUID: EC2's form of it is missing on newer clouds.
func (c openstack) InstanceID(ctx context.Context) (string, error) {
	t, err := c.nova(ctx)
	if err != nil {
		return "", err
	}
	if id := t.text("uuid"); id != "" {
		return id, nil
	}
	return "", ErrAbsent
}

func (c openstack) LoginKey(ctx context.Context) (string, error) {
	t, err := c.nova(ctx)
	if err != nil {
		return "", err
	}
	if keys := strings.TrimSpace(t.at("public_keys").lines()); keys != "" {
		return keys, nil
	}
	return "", ErrAbsent
}

func (c openstack) MetaData(ctx context.Context) (*Tree, error) {
	own, err := c.nova(ctx)
	if err != nil {
		return nil, err
	}
	own.Name = "openstack"
	t, err := c.ec2Names(ctx)
	if err != nil {
		return nil, err
	}
	if t.text("instance-id") == "" {
		t.Children = append(t.Children, &Tree{Name: "instance-id", Value: own.text("uuid")})
	}
	if t.text("local-hostname") == "" && own.text("hostname") != "" {
		t.Children = append(t.Children, &Tree{Name: "local-hostname", Value: own.text("hostname")})
	}
	t.Children = append(t.Children, own)
	return t, nil
}

// ec2Names is the part of the metadata that has EC2's form; empty on a cloud
// without it.
func (c openstack) ec2Names(ctx context.Context) (*Tree, error) {
	files, err := c.drive()
	if err != nil {
		return nil, err
	}
	if files != nil {
		if len(files[novaEC2]) == 0 {
			return &Tree{Dir: true}, nil
		}
		return parseJSON(files[novaEC2])
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
	defer cancel()
	t, err := c.walk(ctx, "/latest/meta-data/", secretEC2)
	if errors.Is(err, ErrAbsent) || errors.Is(err, ErrDenied) {
		return &Tree{Dir: true}, nil
	}
	return t, err
}

// Fingerprint is the digest of OpenStack's document, which is read anyway.
func (c openstack) Fingerprint(ctx context.Context, _ string) (string, error) {
	t, err := c.nova(ctx)
	if err != nil {
		return "", err
	}
	address := ""
	if files, err := c.drive(); files == nil && err == nil { // floating addresses come and go
		ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
		defer cancel()
		if address, err = c.get(ctx, "/latest/meta-data/public-ipv4"); err != nil && !errors.Is(err, ErrAbsent) {
			return "", err
		}
	}
	return novaMeta + " " + digest(t.lines()+"\n"+address), nil
}
