#!/bin/sh
# ---
# RightScript Name: Origin
# Description: Tells where RightLink came from, and what started it.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu
echo "process 1: $(cat /proc/1/comm)"
starter=rc
[ ! -e /run/openrc/softlevel ] || starter=openrc
[ ! -e /run/systemd/system ] || starter=systemd
echo "started by $starter"
dpkg-query -W -f 'package ${Status} ${Version}\n' rightlink 2>/dev/null || echo "no package"
cat /var/lib/rightscale/tarball.json 2>/dev/null || echo "no tarball"
cat /var/lib/rightscale/mirror/health.json 2>/dev/null || echo "no mirror was asked"
/opt/rightscale/bin/bootstrap status
