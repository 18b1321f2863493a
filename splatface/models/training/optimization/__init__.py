"""From a data set to a head: stages, losses, densification, baking, runs that resume."""
