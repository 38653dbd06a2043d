#!/bin/sh
# ---
# RightScript Name: Twin
# Inputs: {}
# ...
