// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync/atomic"
	"time"
)

// service is a metadata service like EC2's, version 2 only.
type service struct {
	*http.Server

	url      string
	values   map[string]string // path → body
	leaves   int
	folders  int
	delay    time.Duration
	closes   bool
	userData atomic.Pointer[string]
	requests atomic.Int64
	version1 atomic.Bool // requests without a token are answered too
}

const settings = "RS_rn_id=4711&RS_rn_auth=0123456789abcdef&RS_account=71&RS_server=rs.example.net&role=web"

// metadata has 59 leaves in 21 folders, as many as a small instance shows.
func metadata() map[string]string {
	m := map[string]string{
		"ami-id": "ami-0abc", "ami-launch-index": "0", "ami-manifest-path": "(unknown)", "hostname": "ip-10-0-0-7.ec2.internal",
		"instance-action": "none", "instance-id": "i-0123456789abcdef0", "instance-life-cycle": "on-demand", "instance-type": "t3.micro",
		"local-hostname": "ip-10-0-0-7.ec2.internal", "local-ipv4": "10.0.0.7", "mac": "02:00:00:00:00:01", "profile": "default-hvm",
		"public-hostname": "ec2-192-0-2-7.compute.example", "public-ipv4": "192.0.2.7", "reservation-id": "r-0123", "security-groups": "default\nweb",
		"block-device-mapping/ami": "xvda", "block-device-mapping/root": "/dev/xvda", "block-device-mapping/ebs1": "sdf",
		"events/maintenance/history": "[]", "events/maintenance/scheduled": "[]", "events/recommendations/rebalance": "",
		"iam/info": `{"Code":"Success"}`, "metrics/vhostmd": "<?xml version=\"1.0\"?>",
		"placement/availability-zone": "us-east-1a", "placement/availability-zone-id": "use1-az1", "placement/region": "us-east-1", "placement/group-name": "g",
		"public-keys/0/openssh-key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5L1RJTSVJ0F6SMgSWm7tt8QQVRcTvMIWoJRcuDW/Dm demo",
		"services/domain":           "amazonaws.com", "services/partition": "aws", "tags/instance/Name": "web",
		"autoscaling/target-lifecycle-state": "InService", "system": "nitro", "kernel/version": "6.1",
	}
	for _, mac := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02"} {
		for _, leaf := range []string{"device-number", "interface-id", "local-hostname", "local-ipv4s", "mac", "owner-id", "security-groups", "subnet-id", "vpc-id", "subnet-ipv4-cidr-block", "vpc-ipv4-cidr-block", "ipv4-associations/192.0.2.7"} {
			m["network/interfaces/macs/"+mac+"/"+leaf] = "value of " + leaf
		}
	}
	return m
}

func startService(ctx context.Context, delay time.Duration, closes bool) (*service, error) {
	s := &service{delay: delay, closes: closes, values: map[string]string{}}
	listings := map[string]map[string]bool{}
	for path, value := range metadata() {
		s.values["/latest/meta-data/"+path] = value
		s.leaves++
		parts := strings.Split(path, "/")
		for i, name := range parts {
			dir := strings.Join(append([]string{""}, parts[:i]...), "/") + "/"
			if listings[dir] == nil {
				listings[dir] = map[string]bool{}
			}
			if i < len(parts)-1 {
				name += "/"
			}
			listings[dir][name] = true
		}
	}
	for dir, names := range listings {
		var lines []string
		for n := range names {
			lines = append(lines, n)
		}
		sort.Strings(lines)
		s.values["/latest/meta-data"+dir] = strings.Join(lines, "\n")
	}
	s.values["/latest/meta-data/public-keys/"] = "0=demo"
	s.folders = len(listings)
	s.values["/latest/dynamic/instance-identity/document"] = `{"instanceId":"i-0123456789abcdef0","pendingTime":"2026-11-24T10:00:00Z"}`
	text := settings
	s.userData.Store(&text)
	address, err := address(ctx)
	if err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s.url = "http://" + l.Addr().String()
	s.Server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	return s, nil
}

// address is the real one where this process has a network of its own.
func address(ctx context.Context) (string, error) {
	if os.Getenv(insideEnv) != "network" {
		return "127.0.0.1:0", nil
	}
	for _, line := range []string{
		"link set lo up", "addr replace 169.254.169.254/32 dev lo",
		// The stages want an address that is not loopback's.
		"link delete bench0", "link add bench0 type veth peer name bench1", "addr add 10.255.255.1/24 dev bench0",
		"link set bench1 up", "link set bench0 up",
	} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil && line != "link delete bench0" {
			return "", fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return "169.254.169.254:80", nil
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	time.Sleep(s.delay)
	if s.closes {
		w.Header().Set("Connection", "close")
	}
	// The date versions of the service say the same; cloud-init asks for one.
	path := r.URL.Path
	if parts := strings.SplitN(path, "/", 3); len(parts) == 3 && strings.HasPrefix(parts[1], "20") {
		path = "/latest/" + parts[2]
	}
	body, ok := s.values[path]
	if !ok && !strings.HasSuffix(path, "/") {
		body, ok = s.values[path+"/"]
	}
	switch text := *s.userData.Load(); {
	case r.Method == http.MethodPut && path == "/latest/api/token":
		_, _ = w.Write([]byte("AQAEAtoken=="))
	case r.Header.Get("X-aws-ec2-metadata-token") == "" && !s.version1.Load():
		w.WriteHeader(http.StatusUnauthorized)
	case path == "/latest/user-data" && text != "":
		_, _ = w.Write([]byte(text))
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write([]byte(body))
	}
}
