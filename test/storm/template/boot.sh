#!/bin/sh
# ---
# RightScript Name: Storm boot
# Description: Sets up nothing.
# Inputs: {}
# ...
echo "Setting up things"
