"""Speed and memory of meta-training and evaluation, beside other programs that do the same work."""
