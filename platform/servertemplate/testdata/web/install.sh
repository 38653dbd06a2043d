#!/bin/sh
# ---
# RightScript Name: Test install
# Description: Puts the files in place.
# Packages: curl
# Inputs: {}
# Attachments:
#   - payload.bin
#   - notes.txt
# ...
ls "$RS_ATTACH_DIR"
