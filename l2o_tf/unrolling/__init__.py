"""One run of any optimizer on any problem, and the meta-gradient through it."""
