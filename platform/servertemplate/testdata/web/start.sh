#!/bin/sh
# ---
# RightScript Name: Test start
# Inputs:
#   PORT:
#     Category: Web
#     Input Type: single
#     Required: true
#     Default: text:80
#   TITLE:
#     Required: true
#   PASSWORD:
#     Required: true
#   COLORS:
#     Input Type: array
#     Default: array:["text:red","text:blue"]
#   MODE:
#     Default: text:fast
#     Possible Values: ["text:fast", "text:safe"]
#   OWN_ID:
#     Default: env:EC2_INSTANCE_ID
# Attachments: []
# ...
echo "$PORT $TITLE"
