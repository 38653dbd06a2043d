#!/bin/sh
# ---
# RightScript Name: Back up
# Description: Writes the data set to disk now.
# Packages:
# Inputs:
#   DB_PORT:
#     Category: Database
#     Description: TCP port of the database.
#     Input Type: single
#     Required: true
#     Advanced: false
#     Default: text:6379
#   DB_PASSWORD:
#     Category: Database
#     Description: Password of clients; give it as a credential.
#     Input Type: single
#     Required: true
#     Advanced: false
# Attachments: []
# ...
set -eu

REDISCLI_AUTH="$DB_PASSWORD" redis-cli -p "$DB_PORT" save
ls -l /var/lib/redis/dump.rdb
