#!/bin/sh
# ---
# RightScript Name: Install web server
# Description: Installs mini-httpd from the package attached to this script.
# Packages:
# Inputs: {}
# Attachments:
#   - mini-httpd.deb
# ...
set -eu

if [ -x /usr/sbin/mini_httpd ]; then
	echo "the web server is already installed"
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
dpkg -i "$RS_ATTACH_DIR/mini-httpd.deb"
