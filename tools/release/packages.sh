#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Puts the packages of an architecture, which "make packages" has made, beside the
# rest of a release. usage: packages.sh amd64|arm64
set -eu
cd "$(dirname "$0")/../.."
mkdir -p dist/packages
cp bin/packages/*_"$1".* dist/packages/
