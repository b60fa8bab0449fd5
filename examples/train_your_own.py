"""Meta-train an optimizer on a Keras model of your own, then use it in that model's `fit`, beside Adam.

    python -m examples.train_your_own
    python -m examples.train_your_own --num_epochs=400 --output_dir=runs/mine

The model is a small convolutional network for the embedded 8×8 digits. Meta-training begins it anew in each meta-epoch;
afterwards `model.fit` trains it from a start, and on images, that meta-training has not seen. train_your_own.png in the
folder of the run shows both.
"""

import argparse

from l2o_tf.cli import console

console.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them

import keras
from matplotlib.figure import Figure

import l2o_tf
from l2o_tf.cli import config
from l2o_tf.cli.meta_train import meta_train
from problems import DataOptions
from problems.datasets import load

PROBLEM = f"{__file__}:digits_network"


def digits(mode: str):
    """`(images [n, 8, 8, 1] in [0, 1], labels [n])`: 1,437 for `"train"`, the other 360 for `"test"`."""
    images, labels, _ = load("digits", mode, options=DataOptions("embedded"))
    return images.numpy().astype("float32").reshape(-1, 8, 8, 1) / 255, labels.numpy()


def network() -> keras.Model:
    """1,714 coordinates."""
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, 2, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(20, "relu"), keras.layers.Dense(10)])


def loss() -> keras.losses.Loss:
    """Of the logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def digits_network(mode: str = "train"):
    """The problem that meta-training is given: model, loss, data."""
    return network(), loss(), digits(mode)


def fit(optimizer: keras.optimizers.Optimizer, epochs: int) -> list[float]:
    """Mean loss of each epoch, on the images that meta-training has not seen."""
    keras.utils.set_random_seed(7)
    model = network()
    model.compile(optimizer=optimizer, loss=loss())
    return model.fit(*digits("test"), batch_size=64, epochs=epochs, verbose=0).history["loss"]


def main() -> None:
    """Meta-trains, trains with both, draws and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int, default=150, help="meta-epochs")
    parser.add_argument("--num_steps", type=int, default=100, help="steps of a meta-epoch")
    parser.add_argument("--fit_epochs", type=int, default=20)
    parser.add_argument("--output_dir", default="runs/train_your_own")
    given = parser.parse_args()
    options = {"problem": PROBLEM, "optimizer": "RNNprop", "num_steps": given.num_steps, "num_epochs": given.num_epochs}
    options |= {"evaluation_period": max(1, given.num_epochs // 3), "num_runs_validation": 3}
    meta_train(config.resolve(options), given.output_dir, resume=True, checkpoint_seconds=60)

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, optimizer in {
        "mine": l2o_tf.LearnedOptimizer(given.output_dir),
        "Adam (0.001)": keras.optimizers.Adam(0.001),
        "Adam (0.01)": keras.optimizers.Adam(0.01),
    }.items():
        losses = fit(optimizer, given.fit_epochs)
        axes.plot(range(1, len(losses) + 1), losses, label=name)
        print(f"{name}: mean loss of epoch {len(losses)} {losses[-1]:.4f}")
    axes.set(xlabel="epoch", ylabel="mean loss", yscale="log", title="a small network for 8×8 digits")
    axes.legend()
    figure.savefig(f"{given.output_dir}/train_your_own.png", dpi=150)
    print(f"Picture: {given.output_dir}/train_your_own.png")


if __name__ == "__main__":
    main()
