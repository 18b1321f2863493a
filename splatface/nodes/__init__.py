# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes: decode a message, call models, encode a message."""

import os

# Its threads spin while they wait for the next small product: half a core for nothing. Read when numpy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
