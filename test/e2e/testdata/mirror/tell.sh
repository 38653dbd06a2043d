#!/bin/sh
# ---
# RightScript Name: Tell
# Description: Tells which RightLink runs, and where it came from.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu
echo "program $(sha256sum </opt/rightscale/bin/rightlink)"
dpkg-query -W -f 'package ${Status} ${Version}\n' rightlink
cat /var/lib/rightscale/mirror/health.json
cat /var/lib/rightscale/upgrade.json 2>/dev/null || true
systemctl is-active rightlink-upgrade.timer || true
echo "told"
