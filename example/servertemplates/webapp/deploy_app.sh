#!/bin/sh
# ---
# RightScript Name: Deploy application
# Description: Installs the application, starts it and asks it for a page.
# Packages:
# Inputs:
#   WEB_PORT:
#     Category: Web
#     Description: TCP port to listen on.
#     Input Type: single
#     Required: true
#     Advanced: false
#     Default: text:80
#   SITE_TITLE:
#     Category: Web
#     Description: Title of the first page.
#     Input Type: single
#     Required: true
#     Advanced: false
# Attachments:
#   - app.cgi
# ...
set -eu

root=/srv/www
mkdir -p "$root/cgi-bin"
install -m 0755 "$RS_ATTACH_DIR/app.cgi" "$root/cgi-bin/app.cgi"
printf '%s\n' "$SITE_TITLE" >"$root/title"

cat >/etc/systemd/system/webapp.service <<EOF
[Unit]
Description=Example web application
After=network.target

[Service]
ExecStart=/usr/sbin/mini_httpd -D -p $WEB_PORT -d $root -c cgi-bin/* -u www-data -i /run/webapp.pid -l /var/log/webapp.log
Restart=on-failure

[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable webapp.service
systemctl restart webapp.service

# Ask for a page through bash's own TCP redirection: the image has no HTTP
# client, and the script should prove that the application answers.
tries=0
until page=$(bash -c 'exec 3<>/dev/tcp/127.0.0.1/'"$WEB_PORT"' && printf "GET /cgi-bin/app.cgi HTTP/1.0\r\n\r\n" >&3 && cat <&3' 2>/dev/null) &&
	printf '%s' "$page" | grep -qF "$SITE_TITLE"; do
	tries=$((tries + 1))
	[ "$tries" -lt 30 ] || { echo "the application does not answer on port $WEB_PORT" >&2; exit 1; }
	sleep 1
done
printf '%s\n' "$page"
