"""PerturbReason: reasoning traces made from evidence, filtered, traced to their sources, kept as a data set."""
