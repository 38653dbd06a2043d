// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	_ "github.com/diskfs/go-diskfs"
	_ "github.com/diskfs/go-diskfs/partition/gpt"
	_ "github.com/goreleaser/nfpm/v2/rpm"
	_ "github.com/hashicorp/packer-plugin-sdk/acctest"
	_ "github.com/hashicorp/packer-plugin-sdk/chroot"
	_ "github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	_ "github.com/klauspost/compress/zstd"
	_ "golang.org/x/term"
)
