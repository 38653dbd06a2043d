#!/bin/sh
# ---
# RightScript Name: Once
# Description: Fails when it runs a second time in one boot, or when the package is not whole.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu

# In memory, so that it is new in each boot and needs no sync.
ran=/run/cut-test
[ ! -e "$ran" ] || { echo "this script ran twice in this boot"; exit 1; }
touch "$ran"

echo "boot $(cat /proc/sys/kernel/random/boot_id)"
dpkg-query -W -f 'package ${Status}\n' rightlink
problems=$(dpkg --audit)
[ -z "$problems" ] || { echo "$problems"; exit 1; }
echo "once in this boot"
