#!/bin/sh
# ---
# RightScript Name: Storm work
# Description: Does nothing.
# Inputs: {}
# ...
echo "Working"
