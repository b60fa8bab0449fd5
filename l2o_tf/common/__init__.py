"""Small helpers for every other package: names, files, devices, tensors as one vector."""
