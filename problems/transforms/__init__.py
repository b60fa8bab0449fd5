"""Problem -> Problem: other coordinates, noisy gradients, a convex term, K problems side by side."""
