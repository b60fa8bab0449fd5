"""How good an optimizer is: runs, comparisons, results."""
