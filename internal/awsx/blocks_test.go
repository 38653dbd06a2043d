// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

// Blocks arrive whole, in order, over connections of their own, with and without
// TLS; several one after the other on one connection.
func TestBlocksArrive(t *testing.T) {
	block := bytes.Repeat([]byte("0123456789abcde\n"), 32<<10)
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			var mu sync.Mutex
			peers := map[string]bool{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				data, err := io.ReadAll(r.Body)
				if err != nil || !bytes.Equal(data, block) || r.ProtoMajor != 1 || r.ContentLength != int64(len(block)) ||
					r.Header.Get("X-Amz-Content-Sha256") != "UNSIGNED-PAYLOAD" {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				peers[r.RemoteAddr] = true
				w.WriteHeader(http.StatusCreated)
			}))
			server.EnableHTTP2 = true
			if secure {
				server.StartTLS()
				bundle := filepath.Join(t.TempDir(), "ca.pem")
				require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
				t.Setenv("AWS_CA_BUNDLE", bundle)
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			f, err := awsx.New(t.Context(), awsx.Config{Region: "us-east-1", AccessKey: "a", SecretKey: "b", EndpointURL: server.URL})
			require.NoError(t, err)
			client := f.EBS("us-east-1")
			for range 5 {
				_, err = client.PutSnapshotBlock(t.Context(), &ebs.PutSnapshotBlockInput{
					SnapshotId: aws.String("snap-1"), BlockIndex: aws.Int32(1), BlockData: bytes.NewReader(block), DataLength: aws.Int32(int32(len(block))),
					Checksum: aws.String("x"), ChecksumAlgorithm: types.ChecksumAlgorithmChecksumAlgorithmSha256,
				})
				require.NoError(t, err)
			}
			require.Len(t, peers, 1)
		})
	}
	t.Run("unknown authority", func(t *testing.T) {
		clean(t)
		server := httptest.NewTLSServer(http.NotFoundHandler())
		t.Cleanup(server.Close)
		f, err := awsx.New(t.Context(), awsx.Config{Region: "us-east-1", AccessKey: "a", SecretKey: "b", EndpointURL: server.URL})
		require.NoError(t, err)
		_, err = f.EBS("us-east-1").CompleteSnapshot(t.Context(), &ebs.CompleteSnapshotInput{SnapshotId: aws.String("snap-1"), ChangedBlocksCount: aws.Int32(1)})
		require.Equal(t, awsx.Fatal, awsx.Class(err), "%v", err)
	})
}
