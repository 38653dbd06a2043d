#!/bin/sh
# ---
# RightScript Name: Drain web server
# Description: Stops taking requests before the server goes away.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu

systemctl stop webapp.service
echo "the web application is stopped"
