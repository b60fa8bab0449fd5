"""A perceptron on MNIST in `model.fit`, by a learned optimizer and by Adam; draws both as mnist_mlp_fit.png.

    python -m examples.mnist_mlp_fit
    python -m examples.mnist_mlp_fit --learning_rate=2  # updates as long as in its training
    python -m examples.mnist_mlp_fit --optimizer=L2O-DM-CL-IL --epochs=3

Without MNIST the embedded digits take its place, and the picture says so.
"""

import argparse

import l2o_tf as l2o

l2o.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them

import keras
from matplotlib.figure import Figure

from problems import DataOptions
from problems.data.datasets import load


class Losses(keras.callbacks.Callback):
    """The loss of each minibatch; Keras itself reports the mean since the epoch began."""

    def on_epoch_begin(self, epoch, logs=None):
        self.means = []

    def on_train_begin(self, logs=None):
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(logs["loss"])
        before = self.means[-2] if batch else 0.0
        self.losses.append((batch + 1) * self.means[-1] - batch * before)


def train(optimizer: keras.optimizers.Optimizer, images, labels, epochs: int) -> list[float]:
    """Losses of all minibatches, from the same start for every optimizer."""
    keras.utils.set_random_seed(0)
    layers = [keras.Input(images.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(20, "sigmoid")]
    model = keras.Sequential([*layers, keras.layers.Dense(10)])
    model.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder = Losses()
    model.fit(images, labels, batch_size=128, epochs=epochs, verbose=2, callbacks=[recorder])
    return recorder.losses


def main() -> None:
    """Trains with both, draws and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--optimizer", default="RNNprop-CL-IL", help="a shipped name, or the folder of a run")
    text = "what the learned optimizer's updates are multiplied by; its CARD.md says with which it was trained"
    parser.add_argument("--learning_rate", type=float, default=1.0, help=text)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--data", default="auto", choices=("auto", "tfds", "embedded"))
    parser.add_argument("--output", default="mnist_mlp_fit.png")
    given = parser.parse_args()
    images, labels, info = load("mnist", options=DataOptions(given.data))
    pixels = images.numpy().astype("float32") / 255
    learned = l2o.LearnedOptimizer(given.optimizer, learning_rate=given.learning_rate)
    optimizers = {given.optimizer: learned, "Adam": keras.optimizers.Adam(0.01)}
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, optimizer in optimizers.items():
        losses = train(optimizer, pixels, labels.numpy(), given.epochs)
        axes.plot(losses, label=name, linewidth=0.9, alpha=0.8)
        print(f"{name}: mean loss of the last 50 minibatches {sum(losses[-50:]) / len(losses[-50:]):.4f}")
    axes.set(xlabel="step", ylabel="loss of the minibatch", yscale="log", title=str(info))
    axes.legend()
    figure.savefig(given.output, dpi=150)
    print(f"Picture: {given.output}")


if __name__ == "__main__":
    main()
