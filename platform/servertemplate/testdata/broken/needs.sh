#!/bin/sh
# ---
# RightScript Name: Twin
# Inputs:
#   MODE: {Possible Values: ["text:fast"]}
# Attachments: [gone.deb]
# ...
