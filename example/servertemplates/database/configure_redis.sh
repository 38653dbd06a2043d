#!/bin/sh
# ---
# RightScript Name: Configure Redis
# Description: Sets port and password and starts the database.
# Packages:
# Inputs:
#   DB_PORT:
#     Category: Database
#     Description: TCP port to listen on.
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
umask 077

conf=/etc/redis/rightscale.conf
{
	echo "bind 127.0.0.1"
	echo "port $DB_PORT"
	echo "requirepass $DB_PASSWORD"
} >"$conf"
chown redis:redis "$conf"
grep -q "include $conf" /etc/redis/redis.conf || echo "include $conf" >>/etc/redis/redis.conf

# At shutdown the database must outlive the decommission scripts, which save it.
mkdir -p /etc/systemd/system/redis-server.service.d
printf '[Unit]\nBefore=rightlink.service\n' >/etc/systemd/system/redis-server.service.d/rightlink.conf
systemctl daemon-reload
systemctl restart redis-server
echo "Redis listens on port $DB_PORT"
