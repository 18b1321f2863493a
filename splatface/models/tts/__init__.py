# SPDX-License-Identifier: Apache-2.0
"""Text to sound, with the time of every word."""
