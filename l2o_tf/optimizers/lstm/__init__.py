"""Coordinate-wise recurrent networks: L2O-DM and RNNprop."""
