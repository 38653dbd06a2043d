#!/bin/sh
# ---
# RightScript Name: Load data
# Description: Loads the first data set, once in the life of the server.
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
# Attachments:
#   - seed.redis
# ...
set -eu

export REDISCLI_AUTH="$DB_PASSWORD"
tries=0
until [ "$(redis-cli -p "$DB_PORT" ping 2>/dev/null)" = PONG ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 60 ] || { echo "Redis does not answer on port $DB_PORT" >&2; exit 1; }
	sleep 1
done
if [ "${RS_ALREADY_RUN:-false}" = true ]; then
	echo "data was loaded on an earlier boot"
else
	redis-cli -p "$DB_PORT" <"$RS_ATTACH_DIR/seed.redis"
fi
echo "the database holds $(redis-cli -p "$DB_PORT" dbsize) keys"
