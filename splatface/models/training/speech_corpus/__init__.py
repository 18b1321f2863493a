# SPDX-License-Identifier: Apache-2.0
"""Training corpus of synthetic and real speech with phone times, and the mouth modes of its phones."""
