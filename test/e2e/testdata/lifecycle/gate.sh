#!/bin/sh
# ---
# RightScript Name: Open the gate
# Description: Lets the script that counts go on by one number.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu
touch /run/lifecycle-gate
echo "the gate is open"
