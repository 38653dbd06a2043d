// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/rightimage/packer-plugin-rightimage/internal/imdsv2"
)

// Role gives an instance's credentials.
type Role interface {
	// Credentials of the role; an error when there is none.
	Credentials(ctx context.Context) (aws.Credentials, error)
	// Region that the instance is in.
	Region(ctx context.Context) (string, error)
}

// place is an address as it is requested.
type place struct {
	url    string
	bucket bool
	region string // empty: the instance's own
}

// resolve turns s3://bucket/key into an address. Its query may name a region
// and the endpoint of a service other than AWS:
// s3://packages/rightlink?region=eu-west-1&endpoint=https://minio.example
// Addresses of AWS's own S3 are recognised as buckets as well.
func (c *Client) resolve(address string) (place, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return place{}, fmt.Errorf("%w: %s", ErrURL, show(address))
	}
	switch u.Scheme {
	case "http", "https":
		return place{url: address, bucket: strings.HasSuffix(u.Hostname(), ".amazonaws.com")}, nil
	case "s3":
	default:
		return place{}, fmt.Errorf("%w: %s: it begins with https://, http:// or s3://", ErrURL, show(address))
	}
	q := u.Query()
	p := place{bucket: true, region: q.Get("region")}
	switch endpoint := q.Get("endpoint"); {
	case endpoint != "":
		p.url = strings.TrimSuffix(endpoint, "/") + "/" + u.Host + u.EscapedPath()
	case p.region != "":
		p.url = "https://" + u.Host + ".s3." + p.region + ".amazonaws.com" + u.EscapedPath()
	default:
		p.url = "https://" + u.Host + ".s3.amazonaws.com" + u.EscapedPath()
	}
	return p, nil
}

// Join adds a path to a mirror's address and keeps its query.
func Join(base, path string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base + "/" + path
	}
	return u.JoinPath(path).String()
}

func (c *Client) region(ctx context.Context, p place) string {
	if p.region != "" {
		return p.region
	}
	// bucket.s3.REGION.amazonaws.com or s3.REGION.amazonaws.com
	if u, err := url.Parse(p.url); err == nil {
		parts := strings.Split(strings.TrimSuffix(u.Hostname(), ".amazonaws.com"), ".")
		if n := len(parts); n >= 2 && parts[n-2] == "s3" {
			return parts[n-1]
		}
	}
	if region, err := c.o.Role.Region(ctx); err == nil && region != "" {
		return region
	}
	return "us-east-1"
}

// signing is what one request is signed with.
type signing struct {
	key aws.Credentials
	at  time.Time
}

// clock is the server's time where ours is far from it: S3 refuses signatures
// of another time, and an instance's clock may be a year off.
func clock(server time.Time) time.Time {
	now := time.Now()
	if d := now.Sub(server); !server.IsZero() && (d > time.Minute || d < -time.Minute) {
		return server
	}
	return now
}

func (s *signing) sign(ctx context.Context, req *http.Request, region string) error {
	empty := sha256.Sum256(nil)
	digest := hex.EncodeToString(empty[:])
	req.Header.Set("X-Amz-Content-Sha256", digest)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	return signer.SignHTTP(ctx, s.key, req, digest, "s3", region, s.at)
}

// signatures keeps a role's credentials until they expire.
type signatures struct {
	mu  sync.Mutex
	key aws.Credentials
}

func (s *signatures) get(ctx context.Context, role Role) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key.HasKeys() && (!s.key.CanExpire || time.Until(s.key.Expires) > time.Minute) {
		return s.key, nil
	}
	key, err := role.Credentials(ctx)
	if err == nil {
		s.key = key
	}
	return key, err
}

// InstanceRole asks EC2's metadata service, version 2.
type InstanceRole struct {
	// Endpoint of the service; empty for EC2's own.
	Endpoint string
}

// ErrNoRole means that the instance has no role.
var ErrNoRole = errors.New("the instance has no role")

// imdsTimeout bounds one question, the session included.
const imdsTimeout = 5 * time.Second

// Credentials implements Role.
func (r InstanceRole) Credentials(ctx context.Context) (aws.Credentials, error) {
	const path = "/latest/meta-data/iam/security-credentials/"
	names, err := r.get(ctx, path)
	if err != nil {
		return aws.Credentials{}, err
	}
	name, _, _ := strings.Cut(strings.TrimSpace(names), "\n")
	if name == "" {
		return aws.Credentials{}, ErrNoRole
	}
	text, err := r.get(ctx, path+name)
	if err != nil {
		return aws.Credentials{}, err
	}
	var k struct {
		Code, AccessKeyId, SecretAccessKey, Token string //nolint:revive // the service's spelling
		Expiration                                time.Time
	}
	if err := json.Unmarshal([]byte(text), &k); err != nil || k.AccessKeyId == "" {
		return aws.Credentials{}, fmt.Errorf("credentials of role %s: the answer holds none (%s)", name, k.Code)
	}
	return aws.Credentials{AccessKeyID: k.AccessKeyId, SecretAccessKey: k.SecretAccessKey, SessionToken: k.Token, CanExpire: true, Expires: k.Expiration}, nil
}

// Region implements Role.
func (r InstanceRole) Region(ctx context.Context) (string, error) {
	region, err := r.get(ctx, "/latest/meta-data/placement/region")
	return strings.TrimSpace(region), err
}

// get makes a session for each question: there are three in a boot.
func (r InstanceRole) get(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, imdsTimeout)
	defer cancel()
	answers, err := imdsv2.Get(ctx, r.Endpoint, path)
	var refused *imdsv2.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return "", ErrNoRole
	}
	if err != nil {
		return "", err
	}
	return answers[0], nil
}
