// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/platform/userdata"
)

func TestReadTags(t *testing.T) {
	for name, tc := range map[string]struct {
		tags map[string]string
		own  string
		want userdata.Form
		err  string
	}{
		"none":          {nil, "", userdata.FormQuery, ""},
		"own line":      {nil, "A=1\n", userdata.FormQuery, ""},
		"own script":    {nil, "#!/bin/sh\ntrue\n", userdata.FormMime, ""},
		"lite":          {map[string]string{"rs_agent:type": "right_link_lite"}, "", userdata.FormMime, ""},
		"classic":       {map[string]string{"rs_agent:type": "right_link"}, "", userdata.FormQuery, ""},
		"query":         {map[string]string{"rs_agent:type": "right_link_lite", "rs_agent:userdata": "query"}, "", userdata.FormQuery, ""},
		"mime":          {map[string]string{"rs_agent:userdata": "mime"}, "", userdata.FormMime, ""},
		"write_file":    {map[string]string{"rs_agent:userdata": "mime", "rs_agent:mime_identity": "write_file"}, "", userdata.FormMimeCloudConfig, ""},
		"liquid":        {map[string]string{"rs_agent:userdata": "liquid"}, "x", userdata.FormTemplate, ""},
		"script URL":    {map[string]string{"rs_agent:mime_shellscript": "http://x/y"}, "", userdata.FormMime, ""},
		"powershell":    {map[string]string{"rs_agent:userdata": "powershell"}, "", "", "want query, mime or liquid"},
		"identity":      {map[string]string{"rs_agent:userdata": "mime", "rs_agent:mime_identity": "x"}, "", "", "want shellscript or write_file"},
		"proxy secrets": {map[string]string{"rs_agent:http_proxy_password": "cred:P"}, "", "", "no password goes there"},
	} {
		t.Run(name, func(t *testing.T) {
			form, _, err := readTags(tc.tags, tc.own)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, form)
		})
	}
	_, s, err := readTags(map[string]string{"rs_agent:http_proxy": "p:1", "rs_agent:http_no_proxy": "a,b", "rs_agent_dev:package": "x.deb", "rs_agent_dev:patch_url": "http://p"}, "")
	require.NoError(t, err)
	require.Equal(t, userdata.Settings{HTTPProxy: "p:1", NoProxy: "a,b", Package: "x.deb", PatchURL: "http://p"}, s)
}

func TestMeaning(t *testing.T) {
	for code, want := range map[string]outcome{
		"RequestLimitExceeded": later, "InsufficientInstanceCapacity": later, "InternalError": unsure, "UnauthorizedOperation": never,
		"InvalidAMIID.NotFound": never, "InstanceLimitExceeded": never, "InvalidParameterValue": never, "InvalidInstanceID.NotFound": absent,
		"IncorrectInstanceState": wrongState, "OperationNotPermitted": never, "IdempotentParameterMismatch": never,
	} {
		require.Equal(t, want, meaning(&smithy.GenericAPIError{Code: code}), code)
	}
	require.Equal(t, never, meaning(errors.New("anything else")))
}

func TestBackoff(t *testing.T) {
	for attempts, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		for range 20 {
			got := backoff(attempts, nil)
			require.GreaterOrEqual(t, got, want*3/4)
			require.LessOrEqual(t, got, want*5/4+1)
		}
	}
	require.LessOrEqual(t, backoff(1<<20, nil), 2*time.Minute)
}

func TestCloudSpec(t *testing.T) {
	good := CloudSpec{Name: "a", Region: "eu-west-1", Ambient: true}
	require.NoError(t, good.check())
	for want, change := range map[string]func(*CloudSpec){
		"cloud name":           func(c *CloudSpec) { c.Name = " a" },
		"region":               func(c *CloudSpec) { c.Region = "Ireland" },
		"endpoint_url":         func(c *CloudSpec) { c.EndpointURL = "localhost:1" },
		"give an access key":   func(c *CloudSpec) { c.Ambient = false },
		"and not both":         func(c *CloudSpec) { c.AccessKey, c.SecretKey = "a", "b" },
		"needs its secret key": func(c *CloudSpec) { c.Ambient, c.AccessKey = false, "a" },
		"role":                 func(c *CloudSpec) { c.RoleARN = "admin" },
		"external id":          func(c *CloudSpec) { c.ExternalID = "x" },
		"discovery every":      func(c *CloudSpec) { c.Discover = time.Second },
	} {
		c := good
		change(&c)
		require.ErrorContains(t, c.check(), want)
	}
	all := CloudSpec{}.check().Error()
	require.Equal(t, 3, len(strings.Split(all, "\n")), "all mistakes at once: %s", all)
}
