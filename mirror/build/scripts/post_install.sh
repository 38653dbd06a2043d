#!/bin/sh
# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0

# Registers the stages that this package needs with the init system. Only
# bootstrap knows how; without it (a package installed by hand on a machine that
# is no RightImage) there is nothing to register.
bootstrap=/opt/rightscale/bin/bootstrap
[ -x "$bootstrap" ] || exit 0
exec "$bootstrap" register
