// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// Package spool reads what bootstrap cached about the instance: user-data and
// metadata, as environment variables for scripts and as a few facts for the
// platform. Nothing in it is executed.
package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/rightimage/packer-plugin-rightimage/rightlink/paths"
)

// Data is the content of the spool.
type Data struct {
	// Cloud is the word of the hint file, "" if there is none.
	Cloud string
	// Metadata and UserData are environment variables by the flattening rule;
	// secrets are left out (see Hidden).
	Metadata map[string]string
	UserData map[string]string
	// ResourceUID is the cloud's id of the instance.
	ResourceUID string
}

// Read reads the spool. Missing files are no error: a cloud may have neither
// metadata nor user-data.
func Read(root paths.Root) (Data, error) {
	d := Data{Cloud: firstLine(root.Cloud())}
	prefix := Prefix(d.Cloud)
	var err, err2 error
	d.Metadata, err = variables(filepath.Join(root.Spool(), "meta-data"), prefix)
	d.UserData, err2 = variables(filepath.Join(root.Spool(), "user-data"), "RS_")
	d.ResourceUID = resourceUID(d.Metadata, prefix)
	if d.ResourceUID == "" {
		// No cloud tells: the machine's own id is as stable.
		if id := firstLine(root.Join("etc/machine-id")); id != "" {
			d.ResourceUID = "machine-" + id
		}
	}
	return d, errors.Join(err, err2)
}

// Prefix is what the names of a cloud's metadata variables begin with.
func Prefix(cloud string) string {
	switch cloud {
	case "", "none":
		return "NONE_"
	case "ec2", "openstack", "eucalyptus", "cloudstack":
		return "EC2_"
	case "google":
		return "GCE_"
	case "rackspace":
		return "RAX_"
	case "softlayer":
		return "SL_"
	case "vsphere":
		return "VS_"
	}
	return flatten("", cloud) + "_"
}

// variables reads base.json, or base.dict where there is no JSON; the latter
// holds only the first line of each value.
func variables(base, prefix string) (map[string]string, error) {
	vars := map[string]string{}
	text, err := os.ReadFile(base + ".json")
	if err == nil {
		var tree map[string]any
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.UseNumber()
		if err := decoder.Decode(&tree); err != nil {
			return vars, fmt.Errorf("read %s.json: %w", base, err)
		}
		walk(vars, prefix, "", tree)
		return vars, nil
	}
	text, dictErr := os.ReadFile(base + ".dict")
	if errors.Is(dictErr, os.ErrNotExist) && errors.Is(err, os.ErrNotExist) {
		return vars, nil
	}
	if dictErr != nil {
		return vars, fmt.Errorf("read the spool: %w", errors.Join(err, dictErr))
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			put(vars, name, value)
		}
	}
	return vars, nil
}

func walk(vars map[string]string, prefix, path string, node any) {
	join := func(key string) string {
		if path == "" {
			return key
		}
		return path + "_" + key
	}
	switch v := node.(type) {
	case map[string]any:
		// Two keys may flatten to one name; the order makes the result stable.
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			walk(vars, prefix, join(key), v[key])
		}
	case []any:
		for i, item := range v {
			walk(vars, prefix, join(strconv.Itoa(i)), item)
		}
	case nil:
	default:
		put(vars, flatten(prefix, path), fmt.Sprint(v))
	}
}

// put keeps what can be an environment variable and is no secret.
func put(vars map[string]string, name, value string) {
	if name != "" && !strings.ContainsRune(value, 0) && !Hidden(name) {
		vars[name] = value
	}
}

// flatten turns a path of the tree into the name of a variable.
func flatten(prefix, path string) string {
	name := strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, path))
	if prefix == "" || strings.HasPrefix(name, "RS_") || strings.HasPrefix(name, prefix) {
		return name
	}
	return prefix + name
}

// Hidden tells if a variable of the spool must not reach scripts: the
// enrolment token in its spellings, the credentials within broker and API
// URLs, and the role credentials that a metadata tree can hold. A script that
// needs the latter asks the metadata service.
func Hidden(name string) bool {
	secrets := []string{
		"RS_RN_AUTH", "RS_RN_URL", "RS_TOKEN", "RS_API_TOKEN", "RS_API_URL", "RS_AMQP_URL", "RS_CLIENT_SECRET",
	}
	return slices.Contains(secrets, name) ||
		strings.Contains(name, "_IAM_SECURITY_CREDENTIALS_") || strings.Contains(name, "_IDENTITY_CREDENTIALS_")
}

func resourceUID(metadata map[string]string, prefix string) string {
	if uid := metadata[prefix+"INSTANCE_ID"]; uid != "" {
		return uid
	}
	names := make([]string, 0, len(metadata))
	for name := range metadata {
		if strings.Contains(name, "INSTANCE_ID") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if metadata[name] != "" {
			return metadata[name]
		}
	}
	return ""
}

// PublicIP and PrivateIP are the first addresses that the cloud told, or "".
func (d Data) PublicIP() string { return d.first("PUBLIC_IPV4", "PUBLIC_IP") }

// PrivateIP is the first private address that the cloud told, or "".
func (d Data) PrivateIP() string { return d.first("LOCAL_IPV4", "PRIVATE_IP", "PRIVATE_IPV4") }

// ImageUID is the cloud's id of the image, or "".
func (d Data) ImageUID() string { return d.first("AMI_ID", "IMAGE_ID") }

func (d Data) first(names ...string) string {
	prefix := Prefix(d.Cloud)
	for _, name := range names {
		if v := strings.TrimSpace(d.Metadata[prefix+name]); v != "" {
			return v
		}
	}
	return ""
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line)
}
