#!/bin/sh
# ---
# RightScript Name: Say goodbye
# Description: Tells how the machine ends.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu

echo "goodbye in runlevel $(runlevel | cut -d ' ' -f 2), because of $DECOM_REASON"
