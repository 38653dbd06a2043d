// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package imds

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/stretchr/testify/require"
)

func example() Instance {
	return Instance{
		ID: "i-0123456789abcdef0", ImageID: "ami-1", Type: "t3.micro", Region: "eu-central-1", AvailabilityZone: "eu-central-1b",
		Account: "123456789012", Architecture: "x86_64", PrivateIP: "10.0.0.7", Hostname: "ip-10-0-0-7.eu-central-1.compute.internal",
		MAC: "02:00:00:00:00:01", ReservationID: "r-1", KeyName: "my key", PublicKey: "ssh-ed25519 AAAA me",
		SecurityGroups: []string{"default", "web"}, RootDevice: "/dev/xvda",
		LaunchTime: time.Date(2026, 11, 24, 10, 0, 0, 5e8, time.UTC), UserData: []byte{0x1f, 0x8b, 0, '\n'},
	}
}

type fixture struct {
	*httptest.Server
	srv *Server
	log *bytes.Buffer
}

func serve(t *testing.T, i Instance) fixture {
	t.Helper()
	var log bytes.Buffer
	srv, err := New(i, &log)
	require.NoError(t, err)
	ts := httptest.NewServer(srv)
	t.Cleanup(ts.Close)
	return fixture{ts, srv, &log}
}

func (f fixture) do(t *testing.T, method, path string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.URL+path, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := f.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func (f fixture) token(t *testing.T) string {
	t.Helper()
	status, token := f.do(t, http.MethodPut, "/latest/api/token", ttlHeader, "60")
	require.Equal(t, http.StatusOK, status)
	return token
}

func (f fixture) get(t *testing.T, path string) (int, string) {
	t.Helper()
	return f.do(t, http.MethodGet, path, tokenHeader, f.token(t))
}

func TestProfileAndPublicAddress(t *testing.T) {
	with := example()
	with.PublicIP, with.Spot, with.LaunchIndex = "127.87.0.9", true, 2
	with.Profile = Profile{ARN: "arn:aws:iam::123456789012:instance-profile/p", ID: "AIPA1", Role: "role"}
	f := serve(t, with)
	for path, want := range map[string]string{
		"public-ipv4": "127.87.0.9", "instance-life-cycle": "spot", "ami-launch-index": "2",
		"iam": "info\nsecurity-credentials/", "iam/security-credentials/": "role",
	} {
		status, body := f.get(t, "/latest/meta-data/"+path)
		require.Equal(t, http.StatusOK, status, path)
		require.Equal(t, want, body, path)
	}
	_, body := f.get(t, "/latest/meta-data/iam/info")
	require.Contains(t, body, `"InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/p"`)
	_, body = f.get(t, "/latest/meta-data/iam/security-credentials/role")
	require.Contains(t, body, `"Expiration": "2036-11-24T10:00:00Z"`)

	f = serve(t, example())
	for _, path := range []string{"iam/info", "public-ipv4"} {
		status, _ := f.get(t, "/latest/meta-data/"+path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
}

func TestTree(t *testing.T) {
	with := example()
	with.Tags = map[string]string{"Name": "web 1", "empty": ""}
	f := serve(t, with)
	for path, want := range map[string]string{
		"/latest":                                                                 "dynamic\nmeta-data\nuser-data",
		"/latest/meta-data/instance-id":                                           "i-0123456789abcdef0",
		"/2021-03-23/meta-data/ami-id":                                            "ami-1",
		"/latest/meta-data/public-keys/":                                          "0=my key",
		"/latest/meta-data/public-keys/0":                                         "openssh-key",
		"/latest/meta-data/public-keys/0/":                                        "openssh-key",
		"/latest//meta-data/placement":                                            "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/region":                                      "eu-central-1",
		"/latest/meta-data/security-groups":                                       "default\nweb",
		"/latest/meta-data/tags/":                                                 "instance/",
		"/latest/meta-data/tags/instance":                                         "Name\nempty",
		"/latest/meta-data/tags/instance/Name":                                    "web 1",
		"/latest/meta-data/tags/instance/empty":                                   "",
		"/latest/meta-data/network/interfaces/macs/":                              "02:00:00:00:00:01/",
		"/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/local-ipv4s": "10.0.0.7",
		"/latest/meta-data/placement/availability-zone-id":                        "euc1-az2",
		"/latest/dynamic/instance-identity/":                                      "document",
		"/latest/user-data":                                                       "\x1f\x8b\x00\n",
		"/latest/meta-data/public-keys/0/openssh-key":                             "ssh-ed25519 AAAA me\n",
	} {
		status, body := f.get(t, path)
		require.Equal(t, http.StatusOK, status, path)
		require.Equal(t, want, body, path)
	}
	_, top := f.get(t, "/latest/meta-data/")
	require.Contains(t, strings.Split(top, "\n"), "public-keys/")
	require.Contains(t, strings.Split(top, "\n"), "instance-action")

	for _, path := range []string{"/nope", "/latest/meta-data/nope", "/latest/meta-data/instance-id/x", "/latest/dynamic/x", "/latest/user-data/x", "/lat"} {
		status, body := f.get(t, path)
		require.Equal(t, http.StatusNotFound, status, path)
		require.Contains(t, body, "404 - Not Found")
	}
}

func TestAbsentThings(t *testing.T) {
	f := serve(t, Instance{ID: "i-1"})
	for _, path := range []string{"/latest/user-data", "/latest/meta-data/public-keys/", "/latest/meta-data/tags/"} {
		status, _ := f.get(t, path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
	_, top := f.get(t, "/latest/meta-data/")
	require.NotContains(t, top, "public-keys")
}

func TestTokenRules(t *testing.T) {
	f := serve(t, example())
	for _, ttl := range []string{"", "0", "21601", "-1", "x"} {
		status, _ := f.do(t, http.MethodPut, "/latest/api/token", ttlHeader, ttl)
		require.Equal(t, http.StatusBadRequest, status, "ttl %q", ttl)
	}
	other := serve(t, example()).token(t)
	for _, bad := range []string{"", "x", f.token(t) + "x", other} {
		status, _ := f.do(t, http.MethodGet, "/latest/meta-data/", tokenHeader, bad)
		require.Equal(t, http.StatusUnauthorized, status, "token %q", bad)
	}
	status, _ := f.do(t, http.MethodPut, "/latest/api/token", ttlHeader, "60", "X-Forwarded-For", "10.1.1.1")
	require.Equal(t, http.StatusForbidden, status)
	status, _ = f.do(t, http.MethodPost, "/latest/user-data", tokenHeader, f.token(t))
	require.Equal(t, http.StatusMethodNotAllowed, status)

	token := f.token(t)
	f.srv.now = func() time.Time { return time.Now().Add(61 * time.Second) }
	status, _ = f.do(t, http.MethodGet, "/latest/meta-data/", tokenHeader, token)
	require.Equal(t, http.StatusUnauthorized, status, "expired")
}

func TestSetTags(t *testing.T) {
	with := example()
	with.Tags = map[string]string{}
	f, without := serve(t, with), serve(t, example())
	for _, x := range []fixture{f, without} {
		x.srv.SetTags(map[string]string{"a": "b"})
	}
	_, body := f.get(t, "/latest/meta-data/tags/instance/a")
	require.Equal(t, "b", body)
	status, _ := without.get(t, "/latest/meta-data/tags/instance/a")
	require.Equal(t, http.StatusNotFound, status)
}

func TestRequestLog(t *testing.T) {
	f := serve(t, example())
	f.get(t, "/latest/meta-data/ami-id")
	f.do(t, http.MethodGet, "/latest/user-data?x=%0a")
	lines := strings.Split(strings.TrimSpace(f.log.String()), "\n")
	require.Len(t, lines, 3)
	for i, want := range []string{"PUT /latest/api/token 200", "GET /latest/meta-data/ami-id 200", "GET /latest/user-data 401"} {
		at, rest, _ := strings.Cut(lines[i], " ")
		_, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		require.Equal(t, want, rest)
	}
}

// The SDK's own client is what most programs in a guest use.
func TestAWSClient(t *testing.T) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false") // many set it for their builds
	f := serve(t, example())
	c := sdk.New(sdk.Options{Endpoint: f.URL})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	meta, err := c.GetMetadata(ctx, &sdk.GetMetadataInput{Path: "instance-id"})
	require.NoError(t, err)
	id, err := io.ReadAll(meta.Content)
	require.NoError(t, err)
	require.Equal(t, "i-0123456789abcdef0", string(id))

	region, err := c.GetRegion(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "eu-central-1", region.Region)

	doc, err := c.GetInstanceIdentityDocument(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, "123456789012", doc.AccountID)
	require.Equal(t, time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC), doc.PendingTime)

	user, err := c.GetUserData(ctx, nil)
	require.NoError(t, err)
	data, err := io.ReadAll(user.Content)
	require.NoError(t, err)
	require.Equal(t, example().UserData, data)
	require.NotContains(t, f.log.String(), " 401", "the client must not need IMDSv1")
}

func TestDocumentIsJSON(t *testing.T) {
	var doc map[string]any
	require.NoError(t, json.Unmarshal([]byte(document(example())), &doc))
	require.Equal(t, "2026-11-24T10:00:00Z", doc["pendingTime"])
}
