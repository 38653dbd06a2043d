// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/local/fault"
)

// bucket makes a bucket in the region of the tests.
func (c *cloud) bucket(name string) *s3.Client {
	c.t.Helper()
	client := s3.NewFromConfig(c.config(region))
	_, err := client.CreateBucket(c.t.Context(), &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &types.CreateBucketConfiguration{LocationConstraint: region},
	})
	require.NoError(c.t, err)
	return client
}

func TestObjects(t *testing.T) {
	cfg := quiet(t)
	cfg.AccessKey, cfg.SecretKey = "key", "secret"
	c := start(t, cfg)
	ctx, client := t.Context(), c.bucket("manifests")
	data := bytes.Repeat([]byte("rightimage "), 300_000) // more than the 1 MiB of a block
	key := aws.String("a folder/größe+1 (x).blocks")
	for _, algorithm := range []types.ChecksumAlgorithm{"CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"} {
		require.NoError(t, second(client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String("manifests"), Key: key, Body: bytes.NewReader(data), ChecksumAlgorithm: algorithm,
			Metadata: map[string]string{"image": "debian"}, ContentType: aws.String("application/gzip"), ContentEncoding: aws.String("gzip"),
		})), algorithm)
	}
	c.stop()
	c = start(t, cfg)
	client = s3.NewFromConfig(c.config(region))
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("manifests"), Key: key, ChecksumMode: types.ChecksumModeEnabled})
	require.NoError(t, err)
	have, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, data, have)
	require.Equal(t, "debian application/gzip gzip", got.Metadata["image"]+" "+*got.ContentType+" "+*got.ContentEncoding)
	head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("manifests"), Key: key})
	require.NoError(t, err)
	require.EqualValues(t, len(data), *head.ContentLength)
	require.Equal(t, *got.ETag, *head.ETag)
	part, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("manifests"), Key: key, Range: aws.String("bytes=11-20")})
	require.NoError(t, err)
	have, err = io.ReadAll(part.Body)
	require.NoError(t, err)
	require.Equal(t, "rightimage", string(have))

	put := func(in s3.PutObjectInput) error {
		in.Bucket, in.Key, in.Body = aws.String("manifests"), key, strings.NewReader("new")
		return second(client.PutObject(ctx, &in))
	}
	require.Equal(t, "PreconditionFailed", codeOf(t, put(s3.PutObjectInput{IfNoneMatch: aws.String("*")})))
	require.Equal(t, "PreconditionFailed", codeOf(t, put(s3.PutObjectInput{IfMatch: aws.String(`"other"`)})))
	require.NoError(t, put(s3.PutObjectInput{IfMatch: got.ETag}))
	files, err := os.ReadDir(filepath.Join(cfg.StateDir, "objects"))
	require.NoError(t, err)
	require.Len(t, files, 1, "what was there before is gone")
	require.NoError(t, second(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("manifests"), Key: key})))
	var none *types.NoSuchKey
	require.ErrorAs(t, second(client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("manifests"), Key: key})), &none)
	require.NoError(t, second(client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("manifests"), Key: key})))
	require.NoError(t, second(client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("manifests")})))
}

func TestListObjects(t *testing.T) {
	c := start(t, quiet(t))
	ctx, client := t.Context(), c.bucket("many")
	for _, key := range []string{"a", "b/1", "b/2", "b/c/3", "d", "e f/ü"} {
		require.NoError(t, second(client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("many"), Key: &key, Body: strings.NewReader(key)})))
	}
	list := func(in s3.ListObjectsV2Input) (names []string) {
		in.Bucket, in.MaxKeys, in.EncodingType = aws.String("many"), aws.Int32(2), types.EncodingTypeUrl
		pages := s3.NewListObjectsV2Paginator(client, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			require.NoError(t, err)
			for _, o := range page.Contents {
				names = append(names, *o.Key)
			}
			for _, p := range page.CommonPrefixes {
				names = append(names, *p.Prefix+"*")
			}
		}
		return names
	}
	require.Equal(t, []string{"a", "b/1", "b/2", "b/c/3", "d", "e+f/%C3%BC"}, list(s3.ListObjectsV2Input{}))
	require.Equal(t, []string{"a", "b/*", "d", "e+f/*"}, list(s3.ListObjectsV2Input{Delimiter: aws.String("/")}))
	require.Equal(t, []string{"b/1", "b/2", "b/c/*"}, list(s3.ListObjectsV2Input{Prefix: aws.String("b/"), Delimiter: aws.String("/")}))
	require.Equal(t, []string{"d", "e+f/%C3%BC"}, list(s3.ListObjectsV2Input{StartAfter: aws.String("b/c/3")}))
	require.Equal(t, "BucketNotEmpty", codeOf(t, second(client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String("many")}))))
	buckets, err := client.ListBuckets(ctx, &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.Equal(t, "many", *buckets.Buckets[0].Name)
}

func TestBucketRefusals(t *testing.T) {
	c := start(t, quiet(t))
	ctx, client := t.Context(), c.bucket("mine")
	away := s3.NewFromConfig(c.config(elsewhere))
	create := func(client *s3.Client, name, where string) error {
		in := &s3.CreateBucketInput{Bucket: &name}
		if where != "" {
			in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(where)}
		}
		return second(client.CreateBucket(ctx, in))
	}
	put := func(client *s3.Client, tweak func(*s3.PutObjectInput)) error {
		in := &s3.PutObjectInput{Bucket: aws.String("mine"), Key: aws.String("k"), Body: strings.NewReader("v")}
		tweak(in)
		return second(client.PutObject(ctx, in))
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"twice":          {create(client, "mine", region), "BucketAlreadyOwnedByYou"},
		"name":           {create(client, "Mine", region), "InvalidBucketName"},
		"where":          {create(client, "other", elsewhere), "IllegalLocationConstraintException"},
		"nowhere":        {create(client, "other", ""), "IllegalLocationConstraintException"},
		"wrong region":   {put(away, func(*s3.PutObjectInput) {}), "PermanentRedirect"},
		"no bucket":      {put(client, func(in *s3.PutObjectInput) { in.Bucket = aws.String("none") }), "NoSuchBucket"},
		"digest":         {put(client, func(in *s3.PutObjectInput) { in.ChecksumSHA256 = aws.String("AAAA") }), "BadDigest"},
		"public":         {put(client, func(in *s3.PutObjectInput) { in.ACL = types.ObjectCannedACLPublicRead }), "UnsupportedOperation"},
		"tags":           {put(client, func(in *s3.PutObjectInput) { in.Tagging = aws.String("a=b") }), "UnsupportedOperation"},
		"kms":            {put(client, func(in *s3.PutObjectInput) { in.ServerSideEncryption = types.ServerSideEncryptionAwsKms }), "UnsupportedOperation"},
		"owner":          {put(client, func(in *s3.PutObjectInput) { in.ExpectedBucketOwner = aws.String("111111111111") }), "AccessDenied"},
		"multipart":      {second(client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String("mine"), Key: aws.String("k")})), "UnsupportedOperation"},
		"access list":    {second(client.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: aws.String("mine")})), "UnsupportedOperation"},
		"head no bucket": {second(client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("none")})), "NotFound"},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, codeOf(t, tc.err)) })
	}
	_, err := away.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String("mine")})
	var resp *awshttp.ResponseError
	require.ErrorAs(t, err, &resp)
	require.Equal(t, http.StatusMovedPermanently, resp.HTTPStatusCode())
	require.Equal(t, region, resp.Response.Header.Get("X-Amz-Bucket-Region"))
	where, err := away.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("mine")})
	require.NoError(t, err)
	require.EqualValues(t, region, where.LocationConstraint)

	for kind, want := range map[fault.Kind]string{fault.Throttle: "SlowDown", fault.Deny: "AccessDenied"} {
		_, err := c.Faults().Add(fault.Rule{Service: "s3", Action: "PutObject", Kind: kind, Times: 1})
		require.NoError(t, err)
		require.Equal(t, want, codeOf(t, put(client, func(*s3.PutObjectInput) {})))
		c.Faults().Remove("")
	}
	_, err = c.Faults().Add(fault.Rule{Service: "s3", Action: "PutObject", Kind: fault.Reset, Times: 1})
	require.NoError(t, err)
	require.ErrorIs(t, put(client, func(*s3.PutObjectInput) {}), syscall.ECONNRESET)
}
