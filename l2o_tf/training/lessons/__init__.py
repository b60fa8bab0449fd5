"""The techniques around the unroll that train better optimizers: each a small pure piece, none a second trainer."""
