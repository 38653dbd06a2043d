// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/stretchr/testify/require"
)

// agentPolicy is what the SSM agent needs for sessions.
const agentPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [
	"ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
	"ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"]}]}`

// TestAccConnections builds in a real account, with each way to connect, and
// makes an AMI of one of them. It needs PACKER_ACC=1, credentials, and for
// Session Manager its plugin.
func TestAccConnections(t *testing.T) {
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("uses a real AWS account; set PACKER_ACC=1")
	}
	for name, more := range map[string]map[string]any{
		"SSH":              {"skip_create_ami": false},
		"spot":             {"instance_type": nil, "spot_instance_types": []string{"t3.small", "t3a.small"}, "spot_price": "auto"},
		"instance connect": {"instance_connect": true},
		"session manager":  {"ssh_interface": "session_manager", "temporary_iam_instance_profile_policy": agentPolicy},
		"both":             {"ssh_interface": "session_manager", "instance_connect": true, "temporary_iam_instance_profile_policy": agentPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			raw := map[string]any{
				"region": cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), "us-east-1"), "source_ami": nil, "skip_create_ami": true,
				"source_ami_ssm_parameter": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64",
				"ssh_username":             "ec2-user", "ami_name": "rightimage acceptance " + time.Now().Format("20060102-150405"),
			}
			for k, v := range more {
				raw[k] = v
			}
			b, err := prepared(t, raw)
			require.NoError(t, err)
			var text lockedBuffer
			a, err := b.Run(t.Context(), quiet(&text), uname{})
			require.NoError(t, err, text.String())
			require.NotContains(t, text.String(), "left behind")
			t.Log(a.String())
			require.NoError(t, a.Destroy())
		})
	}
}

// uname is a provisioner that asks the machine what it is.
type uname struct{}

func (uname) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, _ any) error {
	if name != packersdk.HookProvision {
		return nil
	}
	var out strings.Builder
	cmd := &packersdk.RemoteCmd{Command: "uname -s", Stdout: &out}
	if err := comm.Start(ctx, cmd); err != nil {
		return err
	}
	if cmd.Wait() != 0 || strings.TrimSpace(out.String()) != "Linux" {
		return errors.New("the machine answers " + out.String())
	}
	ui.Say("provisioned")
	return nil
}
