"""The command line: flags become objects, and objects do the work."""
