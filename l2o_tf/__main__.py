"""`python -m l2o_tf`: the trained optimizers that ship, with what is known of each."""

from l2o_tf import console


def main() -> None:
    """Prints the list."""
    console.import_tensorflow()
    from l2o_tf import cards
    from l2o_tf.trained import pretrained_names

    print("\n\n".join(cards.entry(name, *cards.read(name)) for name in pretrained_names()))


if __name__ == "__main__":
    main()
