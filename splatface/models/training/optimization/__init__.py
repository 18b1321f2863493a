# SPDX-License-Identifier: Apache-2.0
"""From a data set to a head: stages, losses, densification, baking, runs that resume."""
