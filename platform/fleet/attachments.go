// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rightimage/packer-plugin-rightimage/internal/secret"
	"github.com/rightimage/packer-plugin-rightimage/platform/store"
)

// attachmentTime is the life of a download token: as long as the session that
// the bundle came with can last.
const attachmentTime = SessionTime

const attachmentPurpose = "attachment"

// attachmentToken lets the holder of an enrolment token download one digest for
// a while: <expiry>.<token id>.<MAC>. Nothing is stored for it.
func (s *Service) attachmentToken(tokenID int64, digest string) string {
	return s.signDownload(tokenID, digest, attachmentTime)
}

// signDownload makes a download token; token id 0 is a person's, who was asked
// for the right to see the attachment when it was given out.
func (s *Service) signDownload(tokenID int64, digest string, life time.Duration) string {
	head := fmt.Sprintf("%d.%d", s.Now().Add(life).Unix(), tokenID)
	mac := s.Keys.Sign(attachmentPurpose, head+"."+digest)
	return head + "." + base64.RawURLEncoding.EncodeToString(mac)
}

// OpenAttachment checks a download token and opens the content.
func (s *Service) OpenAttachment(ctx context.Context, digest string, token secret.String) (io.ReadSeeker, error) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return nil, ErrExpired
	}
	mac, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || !s.Keys.Verify(attachmentPurpose, parts[0]+"."+parts[1]+"."+digest, mac) {
		return nil, ErrExpired
	}
	expiry, errExpiry := strconv.ParseInt(parts[0], 10, 64)
	id, errID := strconv.ParseInt(parts[1], 10, 64)
	if errExpiry != nil || errID != nil || s.Now().After(time.Unix(expiry, 0)) {
		return nil, ErrExpired
	}
	if id != 0 {
		holder, err := s.DB.EnrolmentToken(ctx, id)
		if err != nil || !holder.RevokedAt.IsZero() {
			return nil, ErrExpired
		}
	}
	blob, err := s.DB.Blob(ctx, digest)
	if err != nil {
		return nil, err
	}
	return s.DB.OpenBlob(ctx, store.Blob{Digest: blob.Digest, Size: blob.Size}), nil
}
