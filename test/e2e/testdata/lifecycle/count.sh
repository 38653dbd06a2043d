#!/bin/sh
# ---
# RightScript Name: Count slowly
# Description: Counts to three, and waits for the gate after each number.
# Packages:
# Inputs: {}
# Attachments: []
# ...
set -eu

# Each opening lets one number through.
gate=/run/lifecycle-gate
for n in 1 2; do
	echo "number $n"
	waited=0
	while ! rm "$gate" 2>/dev/null; do
		[ "$waited" -lt 600 ] || { echo "nobody has opened the gate"; exit 1; }
		waited=$((waited + 1))
		sleep 1
	done
done
echo "number 3"
