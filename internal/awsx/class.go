// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package awsx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	smithymw "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

type smithyStack = smithymw.Stack

// ErrorClass says what to do about an error.
type ErrorClass string

// The classes. Only Throttled, Network and, for a while, NotYet are worth a
// repetition.
const (
	None      ErrorClass = ""              // no error
	Denied    ErrorClass = "denied"        // credentials or permissions
	Throttled ErrorClass = "throttled"     // slow down, then repeat
	NotYet    ErrorClass = "not-found-yet" // absent, or too new to be seen everywhere
	Conflict  ErrorClass = "conflict"      // the state or name is taken
	Network   ErrorClass = "network"       // no reply, or the service is broken: repeat
	Quota     ErrorClass = "quota"         // a limit of the account
	Cancelled ErrorClass = "cancelled"     // the caller gave up
	Fatal     ErrorClass = "fatal"         // anything else
)

// codeClass sorts the error codes of EC2, EBS direct, IAM, SSM and STS. Sources:
// the error code pages of their API references.
func codeClass(code string) ErrorClass {
	switch code {
	case "UnauthorizedOperation", "AuthFailure", "AccessDenied", "AccessDeniedException",
		"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
		"ExpiredToken", "ExpiredTokenException", "RequestExpired", "RequestTimeTooSkewed",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"OptInRequired", "Blocked", "PendingVerification", "NotAuthorized":
		return Denied
	case "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException",
		"RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "SlowDown",
		"EC2ThrottledException", "BandwidthLimitExceeded", "PriorRequestNotComplete",
		"ConcurrentLimitExceededException":
		return Throttled
	case "InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound",
		"InvalidSnapshotID.NotFound", "ResourceNotFoundException",
		"NoSuchEntity", "NoSuchEntityException", "ParameterNotFound", "InvalidLaunchTemplateId.NotFoundException",
		"InvalidLaunchTemplateName.NotFoundException":
		return NotYet
	case "InvalidAMIName.Duplicate", "ConflictException", "IdempotentParameterMismatch",
		"InvalidSnapshot.InUse", "IncorrectState", "IncorrectInstanceState",
		"DependencyViolation", "DeleteConflict", "DeleteConflictException", "ConcurrentModification", "ConcurrentModificationException",
		"InvalidGroup.InUse", "InvalidGroup.Duplicate", "InvalidPermission.Duplicate", "InvalidKeyPair.Duplicate", "VolumeInUse",
		"EntityAlreadyExists", "EntityAlreadyExistsException", "InvalidLaunchTemplateName.AlreadyExistsException":
		return Conflict
	case "ServiceQuotaExceededException", "ConcurrentSnapshotLimitExceeded", "SnapshotLimitExceeded",
		"ResourceLimitExceeded", "ResourceCountLimitExceeded", "TagLimitExceeded", "AMIQuotaExceeded":
		return Quota
	case "InternalError", "InternalFailure", "InternalServerException", "ServiceUnavailable",
		"Unavailable", "RequestTimeout", "RequestTimeoutException", "ServerInternal":
		return Network
	default:
		if strings.HasSuffix(code, ".NotFound") { // InvalidGroup, InvalidInstanceID, InvalidKeyPair, InvalidVolume, …
			return NotYet
		}
		return None
	}
}

// Class sorts an error. The reply's own code decides where there is one, then
// its HTTP status, then the kind of the failure.
func Class(err error) ErrorClass {
	var certificate *tls.CertificateVerificationError
	var signing *v4.SigningError
	var file *fs.PathError // its errno would pass for a network error
	switch {
	case err == nil:
		return None
	case errors.Is(err, context.Canceled):
		return Cancelled
	case errors.As(err, &signing), errors.Is(err, ErrNoCredentials):
		return Denied
	case errors.As(err, &certificate), errors.As(err, &file):
		return Fatal
	}
	if class := validationClass(err); class != None {
		return class
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if class := codeClass(api.ErrorCode()); class != None {
			return class
		}
	}
	if class := statusClass(err); class != None {
		return class
	}
	if api == nil && transport(err) {
		return Network
	}
	return Fatal
}

// validationClass looks into the reason of the one EBS error that covers both
// mistakes of the caller and passing states.
func validationClass(err error) ErrorClass {
	var v *ebstypes.ValidationException
	if !errors.As(err, &v) {
		return None
	}
	switch v.Reason {
	case ebstypes.ValidationExceptionReasonInvalidSnapshotId:
		return NotYet
	case ebstypes.ValidationExceptionReasonWriteRequestTimeout,
		ebstypes.ValidationExceptionReasonConflictingBlockUpdate:
		// The second: an earlier try of ours, given up by its deadline, is
		// still under way with the same bytes.
		return Network
	default:
		return Fatal
	}
}

func statusClass(err error) ErrorClass {
	var reply *smithyhttp.ResponseError
	if !errors.As(err, &reply) || reply.Response == nil {
		return None
	}
	switch status := reply.HTTPStatusCode(); {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return Denied
	case status >= http.StatusInternalServerError:
		return Network
	default:
		return None
	}
}

// transport reports whether no complete reply came.
func transport(err error) bool {
	var send *smithyhttp.RequestSendError
	var garbled *smithy.DeserializationError
	var network net.Error
	return errors.As(err, &send) || errors.As(err, &garbled) || errors.As(err, &network) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET)
}

// RetryAfter returns how long the service asks to wait; 0 if it does not say.
func RetryAfter(err error) time.Duration {
	var reply *smithyhttp.ResponseError
	if !errors.As(err, &reply) || reply.Response == nil || reply.Response.Response == nil {
		return 0
	}
	seconds, err := strconv.Atoi(reply.Response.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// Hopeless reports whether no repetition mends an error.
func Hopeless(err error) bool {
	class := Class(err)
	return class == Denied || class == Fatal
}

// MadeNothing reports whether a failed create call is known to have made
// nothing. After throttling or a conflict it is not: an earlier try of the same
// call may have got through. When we were stopped it is not either: err may be
// the reason for that, and not this call's.
func MadeNothing(ctx context.Context, err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) || ctx.Err() != nil {
		return false
	}
	return Hopeless(err) || Class(err) == Quota
}
