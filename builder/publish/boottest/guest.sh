# Copyright (c) The RightImage Authors
# SPDX-License-Identifier: MPL-2.0
#
# Tells what a boot test wants to know of a machine, in sections. It runs as root
# from the standard input of a shell, changes nothing, and ends with "end", so
# that half an answer is seen.

section() { printf '\n== %s\n' "$1"; }
bounded() {
	if command -v timeout >/dev/null; then timeout "$@"; else shift && "$@"; fi
}
bootstrap=/opt/rightscale/bin/bootstrap

look() {
	# The boot comes to its end first.
	command -v systemctl >/dev/null && bounded 180 systemctl is-system-running --wait >/dev/null 2>&1
	if [ -x $bootstrap ]; then
		for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
			status=$($bootstrap status --json 2>/dev/null | tr -d ' \n')
			case $status in
			*'"result":"running"'*) ;;
			*'"name":"rightimage"'*) break ;;
			esac
			sleep 3
		done
	fi

	section boot-id
	cat /proc/sys/kernel/random/boot_id
	section booted
	sed -n 's/^btime //p' /proc/stat
	section clock
	date +%s
	section hostname
	hostname
	section machine-id
	cat /etc/machine-id /var/lib/dbus/machine-id 2>/dev/null | head -n 1
	section own-files
	stat -c '%Y %n' /etc/ssh/ssh_host_*_key /etc/machine-id 2>/dev/null
	section state
	if [ -d /run/systemd/system ]; then systemctl is-system-running; fi
	section failed
	if [ -d /run/systemd/system ]; then
		systemctl list-units --failed --plain --no-legend
	elif command -v rc-status >/dev/null; then
		rc-status --crashed --nocolor 2>/dev/null
	fi
	section mounts
	cat /proc/self/mounts
	section root
	device=$(sed -n 's|^\(/dev/[^ ]*\) / .*|\1|p' /proc/self/mounts | tail -n 1)
	part=$(basename "$(readlink -f "$device" 2>/dev/null)" 2>/dev/null)
	if [ -r "/sys/class/block/$part/partition" ]; then
		disk=$(readlink -f "/sys/class/block/$part/..")
		echo "$(cat "/sys/class/block/$part/start") $(cat "/sys/class/block/$part/size") $(cat "$disk/size") $(df -Pk / | awk 'END { print $2 }')"
	fi
	section listeners
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
	section libraries
	if [ -x /sbin/ldconfig ] && [ -r /etc/ld.so.conf ]; then /sbin/ldconfig -N -X 2>&1 >/dev/null; fi
	section modules
	if command -v modprobe >/dev/null; then modprobe -n -v ext4 2>&1 >/dev/null; fi
	section bootstrap
	[ ! -x $bootstrap ] || $bootstrap status --json
	section end
}

look </dev/null # nothing here may read the script
