"""Meta-train an optimizer on a Keras model of your own, then use it in that model's `fit`, beside Adam.

    python -m examples.train_your_own
    python -m examples.train_your_own --num_epochs=400 --output_dir=runs/mine

The model is a small convolutional network for the embedded 8×8 digits. Meta-training begins it anew in each meta-epoch.
Afterwards `model.fit` trains it from a start, and on images, that meta-training has not seen. train_your_own.png in the
folder of the run shows both. The same command continues a run that was stopped.
"""

import argparse

import l2o_tf as l2o

l2o.import_tensorflow()  # without its start-up lines; before Keras, which would import it with them

import keras
from matplotlib.figure import Figure

from problems import DataOptions
from problems.data.datasets import load


def digits(mode: str):
    """`(images [n, 8, 8, 1] in [0, 1], labels [n])`: 1,437 for `"train"`, the other 360 for `"test"`."""
    images, labels, _ = load("digits", mode, DataOptions("embedded"))
    return images.numpy().astype("float32").reshape(-1, 8, 8, 1) / 255, labels.numpy()


def network() -> keras.Model:
    """1,714 coordinates."""
    layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, 2, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(20, "relu"), keras.layers.Dense(10)])


LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(optimizer: keras.optimizers.Optimizer, epochs: int) -> list[float]:
    """Mean loss of each epoch, on the images that meta-training has not seen."""
    keras.utils.set_random_seed(7)
    model = network()
    model.compile(optimizer=optimizer, loss=LOSS)
    return model.fit(*digits("test"), batch_size=64, epochs=epochs, verbose=0).history["loss"]


def main() -> None:
    """Meta-trains, trains with both, draws and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int, default=150, help="meta-epochs")
    parser.add_argument("--num_steps", type=int, default=100, help="steps of a meta-epoch")
    parser.add_argument("--fit_epochs", type=int, default=20)
    parser.add_argument("--output_dir", default="runs/train_your_own")
    given = parser.parse_args()
    student, problem = l2o.RNNprop(seed=0), l2o.from_keras(network(), LOSS, digits("train"))
    validation = l2o.Validation(period=max(1, given.num_epochs // 3), num_runs=3)
    trainer = l2o.MetaTrainer(student, problem, curriculum=given.num_steps, validation=validation)
    print(trainer.run(given.output_dir, epochs=given.num_epochs))

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, optimizer in {
        "mine": l2o.LearnedOptimizer(student),
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
