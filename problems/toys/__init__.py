"""Functions in closed form, and small classifiers of data that are drawn; they need no download."""
