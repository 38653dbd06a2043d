// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package fetch_test

import "encoding/pem"

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
