// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/stretchr/testify/require"

	"github.com/rightimage/packer-plugin-rightimage/internal/awsx"
)

func api(code string) error { return &smithy.GenericAPIError{Code: code} }

func reply(status int, header http.Header, err error) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: header}},
		Err:      err,
	}
}

func TestClass(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want awsx.ErrorClass
	}{
		"none":                    {nil, awsx.None},
		"denied":                  {api("UnauthorizedOperation"), awsx.Denied},
		"bad key":                 {api("AuthFailure"), awsx.Denied},
		"expired":                 {api("ExpiredToken"), awsx.Denied},
		"ebs denied":              {&ebstypes.AccessDeniedException{}, awsx.Denied},
		"no credentials":          {&v4.SigningError{Err: errors.New("no")}, awsx.Denied},
		"forbidden":               {reply(403, nil, api("Strange")), awsx.Denied},
		"throttled":               {api("RequestLimitExceeded"), awsx.Throttled},
		"ebs throttled":           {&ebstypes.RequestThrottledException{}, awsx.Throttled},
		"ebs too many at once":    {&ebstypes.ConcurrentLimitExceededException{}, awsx.Throttled},
		"429":                     {reply(429, nil, errors.New("slow down")), awsx.Throttled},
		"image not there yet":     {api("InvalidAMIID.NotFound"), awsx.NotYet},
		"snapshot not there yet":  {api("InvalidSnapshot.NotFound"), awsx.NotYet},
		"ebs not there yet":       {&ebstypes.ResourceNotFoundException{}, awsx.NotYet},
		"instance not there yet":  {api("InvalidInstanceID.NotFound"), awsx.NotYet},
		"role not there yet":      {api("NoSuchEntity"), awsx.NotYet},
		"group still in use":      {api("DependencyViolation"), awsx.Conflict},
		"role still in use":       {api("DeleteConflict"), awsx.Conflict},
		"key pair taken":          {api("InvalidKeyPair.Duplicate"), awsx.Conflict},
		"ebs unknown snapshot":    {&ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidSnapshotId}, awsx.NotYet},
		"ebs write timeout":       {&ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonWriteRequestTimeout}, awsx.Network},
		"ebs bad block":           {&ebstypes.ValidationException{Reason: ebstypes.ValidationExceptionReasonInvalidBlock}, awsx.Fatal},
		"name taken":              {api("InvalidAMIName.Duplicate"), awsx.Conflict},
		"snapshot in use":         {api("InvalidSnapshot.InUse"), awsx.Conflict},
		"quota":                   {&ebstypes.ServiceQuotaExceededException{}, awsx.Quota},
		"service broken":          {&ebstypes.InternalServerException{}, awsx.Network},
		"503":                     {reply(503, nil, errors.New("<html>")), awsx.Network},
		"unknown code with a 500": {reply(500, nil, api("Strange")), awsx.Network},
		"refused":                 {&smithyhttp.RequestSendError{Err: syscall.ECONNREFUSED}, awsx.Network},
		"reset":                   {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, awsx.Network},
		"dns":                     {&net.DNSError{Err: "no such host"}, awsx.Network},
		"reply cut off":           {&smithy.DeserializationError{Err: errors.New("EOF")}, awsx.Network},
		"deadline":                {fmt.Errorf("x: %w", context.DeadlineExceeded), awsx.Network},
		"certificate":             {&smithyhttp.RequestSendError{Err: &tls.CertificateVerificationError{Err: errors.New("x")}}, awsx.Fatal},
		"file":                    {&fs.PathError{Op: "read", Path: "disk.raw", Err: syscall.EIO}, awsx.Fatal},
		"cancelled":               {&smithyhttp.RequestSendError{Err: context.Canceled}, awsx.Cancelled},
		"wrong parameter":         {reply(400, nil, api("InvalidParameterValue")), awsx.Fatal},
		"anything":                {errors.New("x"), awsx.Fatal},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, awsx.Class(tc.err))
			if tc.err != nil {
				require.Equal(t, tc.want, awsx.Class(fmt.Errorf("wrapped: %w", tc.err)))
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	require.Equal(t, 7*time.Second, awsx.RetryAfter(reply(503, http.Header{"Retry-After": {"7"}}, errors.New("x"))))
	require.Zero(t, awsx.RetryAfter(reply(503, http.Header{"Retry-After": {"soon"}}, errors.New("x"))))
	require.Zero(t, awsx.RetryAfter(errors.New("x")))
}
