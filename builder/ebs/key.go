// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package ebs

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/hashicorp/packer-plugin-sdk/communicator/sshkey"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// newKey makes a key on this machine: the private half never travels. The
// default is Ed25519, the smallest and fastest of those that EC2 takes.
func newKey(kind string, bits int) (*sshkey.Pair, error) {
	algorithm := sshkey.ED25519
	if kind != "" {
		var err error
		if algorithm, err = sshkey.AlgorithmString(kind); err != nil {
			return nil, err
		}
	}
	return sshkey.GeneratePair(algorithm, nil, bits)
}

// importKey makes a key pair of the public half.
func (s *site) importKey(ctx context.Context, api keyPairs, name string, public []byte) (string, error) {
	t := thing{
		kind: "key pair",
		find: s.command("ec2", "describe-key-pairs", "--filters", s.mineText()),
		lookup: func(ctx context.Context) ([]string, error) {
			out, err := api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: s.mine()}, awsx.Once)
			if err != nil {
				return nil, err
			}
			var names []string
			for _, k := range out.KeyPairs {
				names = append(names, aws.ToString(k.KeyName))
			}
			return names, nil
		},
		remove: func(ctx context.Context, name string) error {
			_, err := api.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: aws.String(name)}, awsx.Once)
			return err
		},
		remedy: func(name string) string { return s.command("ec2", "delete-key-pair", "--key-name", name) },
	}
	return s.make(ctx, t, func(ctx context.Context) (string, error) {
		_, err := api.ImportKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: aws.String(name), PublicKeyMaterial: public,
			TagSpecifications: []types.TagSpecification{s.tagged(types.ResourceTypeKeyPair, nil)},
		})
		if awsx.Class(err) == awsx.Conflict { // an earlier try of this call, or somebody else's key?
			if names, lookErr := t.lookup(ctx); lookErr == nil && len(names) == 1 && names[0] == name {
				return name, nil
			}
			return "", fmt.Errorf("temporary_key_pair_name: %q is taken: leave it out: %w", name, err)
		}
		return name, err
	})
}

// forgetKey is a shell script that takes a public key out of the login keys of
// a machine, those of root included: an image must not carry it.
func forgetKey(public []byte) string {
	fields := bytes.Fields(public)
	if len(fields) < 2 {
		return ""
	}
	body := string(fields[1]) // base64: nothing to quote
	script := `for f in "$HOME/.ssh/authorized_keys" /root/.ssh/authorized_keys; do
	if [ -w "$f" ] && grep -qF KEY "$f"; then
		t=$(mktemp) && { grep -vF KEY "$f" > "$t"; cat "$t" > "$f"; rm -f "$t"; }
	fi
done`
	script = strings.ReplaceAll(script, "KEY", body)
	return "sh -c '" + script + "'; if command -v sudo >/dev/null 2>&1; then sudo -n sh -c '" + script + "' 2>/dev/null; fi; true"
}
