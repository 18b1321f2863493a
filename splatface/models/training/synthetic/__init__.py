# SPDX-License-Identifier: Apache-2.0
"""People who do not exist: a rig that speaks, and the data sets it plays in."""
