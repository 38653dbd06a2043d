echo
# ---
# RightScript Name: Bad
# Inputs:
#   A: {Required: sometimes}
# ...
