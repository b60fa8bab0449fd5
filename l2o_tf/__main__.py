"""`python -m l2o_tf`: the trained optimizers that ship, a line each."""

from l2o_tf import cards
from l2o_tf.trained import pretrained_names

print("\n".join(cards.line(name, *cards.read(name)) for name in pretrained_names()))
