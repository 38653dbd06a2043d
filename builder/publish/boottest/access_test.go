// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package boottest

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/test/matrix"
)

func TestPrepare(t *testing.T) {
	for name, tc := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":     {Config{}, ""},
		"everything":  {Config{Connect: "console", SSHPort: 2222, SubnetID: "subnet-1", SourceCIDRs: []string{"192.0.2.7/32", "2001:db8::/64"}, Timeout: time.Hour}, ""},
		"connect":     {Config{Connect: "winrm"}, `boot_test.connect: is "winrm": use ssh or console`},
		"interface":   {Config{SSHInterface: "dns"}, `boot_test.ssh_interface: is "dns"`},
		"port":        {Config{SSHPort: 70000}, "boot_test.ssh_port: is 70000"},
		"timeout":     {Config{Timeout: time.Second}, "boot_test.timeout: must be 10s to 2h0m0s, is 1s"},
		"subnet":      {Config{SubnetID: "vpc-1"}, `boot_test.subnet_id: is "vpc-1"`},
		"group":       {Config{SecurityGroupIDs: []string{"default"}}, `boot_test.security_group_ids: has "default"`},
		"block":       {Config{SourceCIDRs: []string{"192.0.2.7"}}, `source_cidrs: has "192.0.2.7"`},
		"loose block": {Config{SourceCIDRs: []string{"192.0.2.7/24"}}, `source_cidrs: has "192.0.2.7/24"`},
		"both":        {Config{SecurityGroupIDs: []string{"sg-1"}, SourceCIDRs: []string{"192.0.2.7/32"}}, "has no effect on security_group_ids"},
		"user-data":   {Config{UserData: strings.Repeat("x", 20000)}, "boot_test.user_data: can have at most 16384 bytes, has 20000"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			tc.config.Prepare(func(option, rule, remedy string) { got = append(got, option+": "+rule+": "+remedy) })
			if tc.want == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0], tc.want)
		})
	}
}

func TestWanted(t *testing.T) {
	require.True(t, Config{}.Wanted(true))
	require.False(t, Config{}.Wanted(false))
	require.True(t, Config{Enabled: config.TriTrue}.Wanted(false))
	require.False(t, Config{Enabled: config.TriFalse}.Wanted(true))
}

// Every method of the port is an API call, and every API call needs its IAM
// action, and no other.
func TestIAMActions(t *testing.T) {
	want := []string{"ec2:CreateTags"}
	port := reflect.TypeFor[Control]()
	for i := range port.NumMethod() {
		want = append(want, "ec2:"+port.Method(i).Name)
	}
	require.ElementsMatch(t, want, IAMActions())
	require.True(t, slices.IsSorted(IAMActions()))
}

// Where SSH may come from, and in which VPC.
func TestPlace(t *testing.T) {
	c := start(t)
	f, err := c.Factory(t.Context())
	require.NoError(t, err)
	control := f.EC2(matrix.Here)
	vpc, err := control.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16")})
	require.NoError(t, err)
	private, err := control.CreateSubnet(t.Context(), &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("10.1.1.0/24")})
	require.NoError(t, err)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("192.0.2.9\n")) }))
	defer echo.Close()
	for name, tc := range map[string]struct {
		change func(*Test)
		vpc    string
		want   []string
	}{
		"the cloud on this machine": {func(*Test) {}, "", []string{"127.0.0.0/8"}},
		"this machine's address":    {func(t *Test) { t.Local = false }, "", []string{"192.0.2.9/32"}},
		"as the template says":      {func(t *Test) { t.Local, t.SourceCIDRs = false, []string{"198.51.100.0/24"} }, "", []string{"198.51.100.0/24"}},
		"a private subnet":          {func(t *Test) { t.Local, t.SubnetID = false, *private.Subnet.SubnetId }, *vpc.Vpc.VpcId, []string{"10.1.0.0/16"}},
		"with a public address": {func(t *Test) {
			t.Local, t.SubnetID, t.AssociatePublicIP = false, *private.Subnet.SubnetId, config.TriTrue
		}, *vpc.Vpc.VpcId, []string{"192.0.2.9/32"}},
		"by the private address": {func(t *Test) { t.Local, t.SSHInterface = false, privateIP }, "", []string{"127.86.0.0/16"}},
	} {
		t.Run(name, func(t *testing.T) {
			test, err := newTest(t.Context(), c, &guest{}, &told{})
			require.NoError(t, err)
			test.echo = echo.URL
			tc.change(test)
			got, blocks, err := test.place(t.Context())
			require.NoError(t, err)
			require.Equal(t, tc.vpc, aws.ToString(got))
			require.Equal(t, tc.want, blocks)
		})
	}
	test, err := newTest(t.Context(), c, &guest{}, &told{})
	require.NoError(t, err)
	test.SubnetID = "subnet-0123456789abcdef0"
	_, _, err = test.place(t.Context())
	require.ErrorContains(t, err, "boot_test.subnet_id subnet-0123456789abcdef0")
}
