#!/bin/sh
# ---
# RightScript Name: Install Redis
# Description: Installs Redis from the packages attached to this script.
# Packages:
# Inputs: {}
# Attachments:
#   - redis-server.deb
#   - redis-tools.deb
#   - libjemalloc2.deb
#   - liblzf1.deb
#   - libatomic1.deb
# ...
set -eu

if command -v redis-server >/dev/null; then
	echo "Redis is already installed"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
dpkg -i "$RS_ATTACH_DIR"/*.deb
redis-server --version
