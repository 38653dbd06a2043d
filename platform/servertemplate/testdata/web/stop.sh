#!/bin/sh
# ---
# RightScript Name: Test stop
# Inputs: {}
# Attachments: []
# ...
echo bye
