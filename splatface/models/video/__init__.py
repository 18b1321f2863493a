# SPDX-License-Identifier: Apache-2.0
"""A head's video: sound in, images and sound on one clock out, in a file. Any length, bounded memory."""
