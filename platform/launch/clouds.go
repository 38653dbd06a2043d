// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/fleet"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// CloudSpec is what an operator says about a new cloud.
type CloudSpec struct {
	Name        string
	Description string
	// Region is one region; AllRegions makes a cloud of each region that the
	// account has, named "NAME REGION".
	Region      string
	AllRegions  bool
	EndpointURL string
	// AccessKey and SecretKey, or Ambient: from the environment of the platform.
	AccessKey    string
	SecretKey    secret.String
	SessionToken secret.String
	Ambient      bool
	RoleARN      string
	ExternalID   string
	// Discover is the longest time between two listings; 0 for none.
	Discover time.Duration
	// Unchecked leaves out the question whether the credentials work.
	Unchecked bool
}

// Bounds of CloudSpec.Discover.
const (
	DefaultDiscover = time.Minute
	MinDiscover     = 5 * time.Second
	MaxDiscover     = 24 * time.Hour
)

var (
	cloudName  = regexp.MustCompile(`^[^\x00-\x1f\x7f]{1,100}$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)
	roleForm   = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::\d{12}:role/\S+$`)
)

// check reports all mistakes at once.
func (c CloudSpec) check() error {
	var problems []string
	want := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	want(cloudName.MatchString(c.Name) && strings.TrimSpace(c.Name) == c.Name, "cloud name %q: want 1 to 100 printable characters without space at the ends", c.Name)
	want(c.AllRegions || regionForm.MatchString(c.Region), "region %q: want a region such as eu-west-1", c.Region)
	if c.EndpointURL != "" {
		err := awsx.CheckEndpoint(c.EndpointURL)
		want(err == nil, "%v", err)
	}
	want(c.Ambient != (c.AccessKey != ""), "credentials: give an access key, or ambient credentials, and not both")
	want((c.AccessKey == "") == (c.SecretKey == ""), "credentials: an access key needs its secret key")
	want(c.RoleARN == "" || roleForm.MatchString(c.RoleARN), "role %q: want an ARN such as arn:aws:iam::123456789012:role/rightscaled", c.RoleARN)
	want(c.ExternalID == "" || c.RoleARN != "", "external id: goes with a role")
	want(c.Discover == 0 || c.Discover >= MinDiscover && c.Discover <= MaxDiscover, "discovery every %s: want %s to %s, or 0 for none", c.Discover, MinDiscover, MaxDiscover)
	if len(problems) > 0 {
		return &fleet.InvalidError{Text: strings.Join(problems, "\n")}
	}
	return nil
}

// AddCloud stores a cloud, or one for each region, after having asked the cloud
// whether the credentials work. Clouds of AllRegions that exist already stay.
func (s *Service) AddCloud(ctx context.Context, account int64, spec CloudSpec, by string) ([]store.Cloud, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	first, regions, err := s.probe(ctx, account, spec)
	if err != nil {
		return nil, err
	}
	var made []store.Cloud
	err = s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		for _, region := range regions {
			c := first
			c.Region = region
			if spec.AllRegions {
				c.Name = spec.Name + " " + region
			}
			_, err := q.CloudByName(ctx, account, c.Name)
			switch {
			case err == nil && spec.AllRegions:
				continue
			case err == nil:
				return &fleet.InvalidError{Text: fmt.Sprintf("cloud %q exists already; choose another name, or remove it first", c.Name)}
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			id, err := q.CreateCloud(ctx, c, s.now())
			if err != nil {
				return err
			}
			if c, err = q.Cloud(ctx, id); err != nil {
				return err
			}
			made = append(made, c)
			if err := s.noteCloud(ctx, q, c, "cloud added: "+c.Name, by); err != nil {
				return err
			}
		}
		return nil
	})
	return made, err
}

func (s *Service) noteCloud(ctx context.Context, q *store.Queries, c store.Cloud, summary, by string) error {
	_, err := q.CreateAuditEntry(ctx, store.AuditEntry{AccountID: c.AccountID, AuditeeHref: CloudHref(c.ID), Summary: summary, UserEmail: by, Notify: "None"}, s.now())
	return err
}

// CloudHref is the href of a cloud.
func CloudHref(id int64) string { return fmt.Sprintf("/api/clouds/%d", id) }

// probe makes the row, and asks which account and which regions the credentials
// are good for.
func (s *Service) probe(ctx context.Context, account int64, spec CloudSpec) (store.Cloud, []string, error) {
	c := store.Cloud{AccountID: account, Name: spec.Name, Description: spec.Description, Type: "amazon", Region: spec.Region, EndpointURL: spec.EndpointURL,
		Credentials: store.CredentialsAmbient, AccessKey: spec.AccessKey, RoleARN: spec.RoleARN, ExternalID: spec.ExternalID, Discover: spec.Discover}
	if !spec.Ambient {
		c.Credentials = store.CredentialsKeys
		var err error
		if c.Sealed, err = s.Clients.sealKeys(c, spec.SecretKey, spec.SessionToken); err != nil {
			return c, nil, err
		}
	}
	if spec.Unchecked && !spec.AllRegions {
		return c, []string{c.Region}, nil
	}
	if c.Region == "" {
		c.Region = "us-east-1" // knows the others
	}
	factory, err := s.Clients.Factory(ctx, c)
	if err != nil {
		return c, nil, &fleet.InvalidError{Text: err.Error()}
	}
	who, err := factory.STS(c.Region).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return c, nil, &fleet.InvalidError{Text: factory.Explain("ask whose credentials these are", c.Region, err).Error()}
	}
	c.CloudAccount = aws.ToString(who.Account)
	out, err := factory.EC2(c.Region).DescribeRegions(ctx, &ec2.DescribeRegionsInput{}, awsx.Quick)
	if err != nil {
		return c, nil, &fleet.InvalidError{Text: factory.Explain("list regions", c.Region, err).Error()}
	}
	var regions []string
	for _, r := range out.Regions {
		regions = append(regions, aws.ToString(r.RegionName))
	}
	slices.Sort(regions)
	if spec.AllRegions {
		return c, regions, nil
	}
	if !slices.Contains(regions, c.Region) {
		return c, nil, &fleet.InvalidError{Text: fmt.Sprintf("region %q: the account has %s", c.Region, strings.Join(regions, ", "))}
	}
	return c, []string{c.Region}, nil
}

// RemoveCloud forgets a cloud, its images, and the instances in it that no
// server has. It ends no machine.
func (s *Service) RemoveCloud(ctx context.Context, account int64, name, by string) error {
	return s.Fleet.DB.InTx(ctx, func(q *store.Queries) error {
		c, err := q.CloudByName(ctx, account, name)
		if err != nil {
			return err
		}
		if c.ID == store.DefaultCloud {
			return &fleet.RefusedError{Text: fmt.Sprintf("cloud %q is where instances belong that nobody has placed; it stays", name)}
		}
		use, err := q.CloudUse(ctx, c.ID)
		if err != nil {
			return err
		}
		if use != (store.CloudUse{}) {
			return &fleet.RefusedError{Text: fmt.Sprintf("cloud %q is in use: %d servers are to be launched there, %d settings of MultiCloudImages name it, %d instances in it live or are being worked on",
				name, use.Servers, use.Settings, use.Instances)}
		}
		if err := q.DeleteCloud(ctx, c.ID); err != nil {
			return err
		}
		return s.noteCloud(ctx, q, c, "cloud removed: "+c.Name, by)
	})
}

// CloudView is a cloud as the operator sees it; its field names are a contract
// with scripts.
type CloudView struct {
	ID            int64     `json:"id"`
	Name          string    `json:"name"`
	Description   string    `json:"description"`
	Type          string    `json:"cloud_type"`
	Region        string    `json:"region"`
	EndpointURL   string    `json:"endpoint_url,omitempty"`
	Credentials   string    `json:"credentials"` // none, ambient or keys
	AccessKey     string    `json:"access_key,omitempty"`
	RoleARN       string    `json:"role_arn,omitempty"`
	ExternalID    string    `json:"external_id,omitempty"`
	CloudAccount  string    `json:"cloud_account,omitempty"`
	Discover      int64     `json:"discover_seconds"`
	DiscoveredAt  time.Time `json:"discovered_at,omitzero"`
	CataloguedAt  time.Time `json:"catalogued_at,omitzero"`
	DiscoverError string    `json:"discover_error,omitempty"`
	Instances     int       `json:"instances"` // that the cloud lists now
	Images        int       `json:"images"`
	CreatedAt     time.Time `json:"created_at,omitzero"`
}

// ViewCloud shows a cloud.
func (s *Service) ViewCloud(ctx context.Context, c store.Cloud) (CloudView, error) {
	v := CloudView{ID: c.ID, Name: c.Name, Description: c.Description, Type: c.Type, Region: c.Region, EndpointURL: c.EndpointURL, Credentials: c.Credentials,
		AccessKey: c.AccessKey, RoleARN: c.RoleARN, ExternalID: c.ExternalID, CloudAccount: c.CloudAccount, Discover: int64(c.Discover / time.Second),
		DiscoveredAt: c.DiscoveredAt, CataloguedAt: c.CataloguedAt, DiscoverError: c.DiscoverError, CreatedAt: c.CreatedAt}
	instances, err := s.Fleet.DB.InstancesSeenIn(ctx, c.ID)
	if err != nil {
		return v, err
	}
	for _, i := range instances {
		if i.CloudState != "terminated" {
			v.Instances++
		}
	}
	images, err := s.Fleet.DB.Images(ctx, c.ID, false)
	v.Images = len(images)
	return v, err
}

// Clouds shows the clouds of an account.
func (s *Service) Clouds(ctx context.Context, account int64) ([]CloudView, error) {
	clouds, err := s.Fleet.DB.Clouds(ctx, account)
	list := make([]CloudView, 0, len(clouds))
	for _, c := range clouds {
		v, verr := s.ViewCloud(ctx, c)
		if verr != nil {
			return nil, verr
		}
		list = append(list, v)
	}
	return list, err
}
