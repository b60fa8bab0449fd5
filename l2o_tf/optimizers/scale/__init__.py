"""L2O-Scale, the hierarchical recurrent network."""
