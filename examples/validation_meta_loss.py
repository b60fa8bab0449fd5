"""A meta-loss on validation data: the student's steps see training rows, and its meta-loss held-out rows.

    python examples/validation_meta_loss.py

Labels are noisy and training rows few, so that a model soon learns them by heart. A student that is judged by its own
steps learns to be fast at that. A student that is judged by held-out rows learns to stop in time. Both are compared on
data that no meta-training has seen.
"""

import l2o_tf as l2o

l2o.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them
import keras
import numpy as np

NUM_STEPS, NUM_EPOCHS = 100, 60


def make_tasks(seed: int) -> tuple[l2o.Problem, l2o.Problem]:
    """One model as two problems: on 64 training rows, and on 1,000 held-out rows of the same data."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=[1064, 20]).astype("float32")
    y = (x[:, 0] + x[:, 1] > 0) ^ (rng.random(1064) < 0.2)  # a fifth of the labels is wrong
    model = keras.Sequential([keras.Input([20]), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    train, held_out = (slice(0, 64), slice(64, None))
    return tuple(l2o.from_keras(model, loss, (x[rows], y[rows]), batch_size=32) for rows in (train, held_out))


def meta_train(lesson: l2o.OwnTrajectory, train: l2o.Problem, num_epochs: int) -> l2o.RNNprop:
    """A student after `num_epochs` runs of `NUM_STEPS` steps on the training rows."""
    student = l2o.RNNprop(seed=0)
    trainer = l2o.MetaTrainer(student, train, lessons=[lesson], curriculum=NUM_STEPS)
    for _ in range(num_epochs):
        trainer.advance()
    return student


def main(num_epochs: int = NUM_EPOCHS) -> dict[str, float]:
    """Prints the losses of both students after `NUM_STEPS` steps; returns those on held-out rows."""
    train, held_out = make_tasks(seed=0)
    unseen = l2o.measured_on(*make_tasks(seed=1))
    found = {}
    for name, judge in {"training rows": None, "held-out rows": l2o.objective_of(held_out)}.items():
        student = meta_train(l2o.OwnTrajectory(judge=judge), train, num_epochs)
        (result,) = l2o.evaluate(student, unseen, num_steps=NUM_STEPS, num_runs=5, full_period=NUM_STEPS)
        found[name] = float(result.full["loss"][:, -1].mean())
        last = result.losses[:, -10:].mean()
        print(f"meta-loss on {name}: {last:.3f} on training rows, {found[name]:.3f} on held-out rows")
    return found


if __name__ == "__main__":
    main()
