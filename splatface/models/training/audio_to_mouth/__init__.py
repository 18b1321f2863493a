# SPDX-License-Identifier: Apache-2.0
"""Train the nets that turn audio features into mouth motion, for every voice and head."""
