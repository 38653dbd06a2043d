#!/bin/sh
# ---
# RightScript Name: Say hello
# Description: Prints the init system and its inputs. On the first boot it also leaves somebody behind who kills the agent once the platform knows it as operational.
# Packages:
# Inputs:
#   GREETING:
#     Category: Test
#     Description: What to say.
#     Input Type: single
#     Required: true
#     Advanced: false
# Attachments: []
# ...
set -eu

echo "process 1: $(cat /proc/1/comm)"
/sbin/init --version
test ! -e /run/systemd/system && echo "systemd does not run"
starter=rc
[ ! -e /run/openrc/softlevel ] || starter=openrc
echo "services are started by $starter"
echo "greeting: $GREETING"

runs=/var/lib/init-test.runs
echo run >>"$runs"
echo "boot scripts ran: $(wc -l <"$runs")"

if [ -z "${RS_ALREADY_RUN:-}" ]; then
	state=/var/lib/rightscale/right_link/state.js
	# Not earlier: an agent that dies while it boots does boot again.
	setsid sh -c "until grep -q '\"last_recorded_value\": *\"operational\"' $state; do sleep 1; done; pkill -KILL -x rightlink" \
		</dev/null >/dev/null 2>&1 &
fi

/opt/rightscale/bin/bootstrap status
/opt/rightscale/bin/bootstrap supervise status
ls -d /etc/rc2.d/* /etc/rc0.d/* /etc/runlevels/*/* 2>/dev/null || true
grep rightimage /var/log/syslog
