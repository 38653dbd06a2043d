// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imds

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Instance is what the service tells about its instance. Empty fields are left
// out of the tree where EC2 would have no such entry either.
type Instance struct {
	ID               string
	ImageID          string
	Type             string
	Region           string
	AvailabilityZone string
	Account          string
	Architecture     string // x86_64 or arm64
	PrivateIP        string
	Hostname         string
	MAC              string
	ReservationID    string
	KeyName          string
	PublicKey        string
	SecurityGroups   []string
	RootDevice       string
	LaunchTime       time.Time
	UserData         []byte
	// Tags appear under tags/instance; nil: the launch did not enable that.
	Tags map[string]string
	// PublicIP is empty for an instance without one.
	PublicIP string
	// LaunchIndex counts the instances of one launch from 0.
	LaunchIndex int
	// Spot is true for a spot instance.
	Spot bool
	// Profile is the instance profile; the zero value is none.
	Profile Profile
	// Authority signs the identity document; nil: it has no signatures.
	Authority *Authority
}

// Profile is an instance profile as its instance sees it.
type Profile struct {
	ARN string
	ID  string
	// Role is the name under which its credentials are; empty: the profile has
	// no role.
	Role string
}

// keyEntry is the directory whose listing has a form of its own: "0=NAME".
const keyEntry = "public-keys/"

// leaves are the values of the meta-data tree by path; directories follow from
// the paths.
func leaves(i Instance) map[string]string {
	zone := i.AvailabilityZone
	nic := "network/interfaces/macs/" + i.MAC + "/"
	groups := strings.Join(i.SecurityGroups, "\n")
	all := map[string]string{
		"ami-id":                         i.ImageID,
		"ami-launch-index":               strconv.Itoa(i.LaunchIndex),
		"ami-manifest-path":              "(unknown)",
		"block-device-mapping/ami":       i.RootDevice,
		"block-device-mapping/root":      i.RootDevice,
		"events/maintenance/history":     "[]",
		"events/maintenance/scheduled":   "[]",
		"hostname":                       i.Hostname,
		"instance-action":                "none",
		"instance-id":                    i.ID,
		"instance-life-cycle":            lifeCycle(i),
		"instance-type":                  i.Type,
		"local-hostname":                 i.Hostname,
		"local-ipv4":                     i.PrivateIP,
		"mac":                            i.MAC,
		"placement/availability-zone":    zone,
		"placement/region":               i.Region,
		"profile":                        "default-hvm",
		"reservation-id":                 i.ReservationID,
		"security-groups":                groups,
		"services/domain":                "amazonaws.com",
		"services/partition":             "aws",
		"system":                         "nitro",
		nic + "device-number":            "0",
		nic + "local-hostname":           i.Hostname,
		nic + "local-ipv4s":              i.PrivateIP,
		nic + "mac":                      i.MAC,
		nic + "owner-id":                 i.Account,
		nic + "security-groups":          groups,
		nic + "subnet-ipv4-cidr-block":   "169.254.169.0/24",
		keyEntry + "0/openssh-key":       withNewline(i.PublicKey),
		nic + "vpc-ipv4-cidr-block":      "169.254.169.0/24",
		nic + "vpc-ipv4-cidr-blocks":     "169.254.169.0/24",
		"placement/availability-zone-id": zoneID(zone),
		"public-ipv4":                    i.PublicIP,
		nic + "public-ipv4s":             i.PublicIP,
	}
	addProfile(all, i)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	for name, value := range i.Tags {
		all["tags/instance/"+name] = value // an empty tag is an entry still
	}
	return all
}

func lifeCycle(i Instance) string {
	if i.Spot {
		return "spot"
	}
	return "on-demand"
}

// addProfile adds iam/info and the credentials of the role. They are good for a
// local cloud that takes any credentials, and never run out.
func addProfile(all map[string]string, i Instance) {
	if i.Profile.ARN == "" {
		return
	}
	at := i.LaunchTime.UTC().Truncate(time.Second)
	all["iam/info"] = indented(struct {
		Code               string
		LastUpdated        time.Time
		InstanceProfileArn string
		InstanceProfileID  string `json:"InstanceProfileId"`
	}{"Success", at, i.Profile.ARN, i.Profile.ID})
	if i.Profile.Role == "" {
		return
	}
	all["iam/security-credentials/"+i.Profile.Role] = indented(struct {
		Code, Type, AccessKeyId, SecretAccessKey, Token string //nolint:revive // EC2's own names
		LastUpdated, Expiration                         time.Time
	}{"Success", "AWS-HMAC", "ASIALOCAL", "local", "local", at, at.AddDate(10, 0, 0)})
}

// indented is JSON as EC2 writes it.
func indented(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "" // strings and times always marshal
	}
	return string(data)
}

func withNewline(key string) string {
	if key == "" || strings.HasSuffix(key, "\n") {
		return key
	}
	return key + "\n"
}

// zoneID makes "use1-az1" of "us-east-1a": the first letters of the region's
// words, its number, and the zone's letter as a number.
func zoneID(zone string) string {
	words := strings.Split(zone, "-")
	last := words[len(words)-1]
	if len(words) != 3 || len(last) != 2 {
		return ""
	}
	direction := words[1][:min(1, len(words[1]))]
	return words[0] + direction + last[:1] + "-az" + string('1'+rune(last[1]-'a'))
}

// look finds path (without leading slash) in the tree: a value, or the listing
// of a directory, with or without a slash at its end.
func look(all map[string]string, path, keyName string) (string, bool) {
	if value, ok := all[path]; ok {
		return value, true
	}
	dir := strings.TrimSuffix(path, "/")
	if dir != "" {
		dir += "/"
	}
	entries := map[string]bool{}
	for leaf := range all {
		rest, ok := strings.CutPrefix(leaf, dir)
		if !ok || rest == "" {
			continue
		}
		name, _, isDir := strings.Cut(rest, "/")
		switch {
		case dir == keyEntry:
			name += "=" + keyName
		case isDir && !strings.HasPrefix(dir, "tags/instance"):
			name += "/"
		}
		entries[name] = true
	}
	if len(entries) == 0 {
		return "", false
	}
	return strings.Join(slices.Sorted(maps.Keys(entries)), "\n"), true
}

// document is the instance identity document, with EC2's own field order.
func document(i Instance) string {
	doc := struct {
		AccountID               string    `json:"accountId"`
		Architecture            string    `json:"architecture"`
		AvailabilityZone        string    `json:"availabilityZone"`
		BillingProducts         []string  `json:"billingProducts"`
		DevpayProductCodes      []string  `json:"devpayProductCodes"`
		MarketplaceProductCodes []string  `json:"marketplaceProductCodes"`
		ImageID                 string    `json:"imageId"`
		InstanceID              string    `json:"instanceId"`
		InstanceType            string    `json:"instanceType"`
		KernelID                *string   `json:"kernelId"`
		PendingTime             time.Time `json:"pendingTime"`
		PrivateIP               string    `json:"privateIp"`
		RamdiskID               *string   `json:"ramdiskId"`
		Region                  string    `json:"region"`
		Version                 string    `json:"version"`
	}{
		AccountID: i.Account, Architecture: i.Architecture, AvailabilityZone: i.AvailabilityZone,
		ImageID: i.ImageID, InstanceID: i.ID, InstanceType: i.Type, PendingTime: i.LaunchTime.UTC().Truncate(time.Second),
		PrivateIP: i.PrivateIP, Region: i.Region, Version: "2017-09-30",
	}
	return indented(doc)
}
