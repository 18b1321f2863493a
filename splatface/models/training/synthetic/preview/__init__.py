# SPDX-License-Identifier: Apache-2.0
"""A fast renderer of posed bodies on one core: z-buffer, soft light, strands of hair."""
