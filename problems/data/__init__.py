"""Data sets and the order in which minibatches visit them: images from TFDS or embedded, small ones that are drawn."""
