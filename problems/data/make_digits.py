"""Makes `digits.npz` from the copy that scikit-learn ships; only needed to check that file.

    pip install scikit-learn
    python problems/data/make_digits.py problems/data/digits.npz

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49, CC BY 4.0. scikit-learn ships the repository's test set: 1,797 images of 8x8 pixels,
0 to 16. Change made here: pixels are scaled to 0 to 255 and rounded.
"""

import sys

import numpy as np


def main(path: str) -> None:
    """Writes uint8 `images [1797, 8, 8, 1]` and `labels [1797]`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images.astype(np.int64) * 255 + 8) // 16
    np.savez_compressed(path, images=images.astype(np.uint8)[..., None], labels=digits.target.astype(np.uint8))


if __name__ == "__main__":
    main(*sys.argv[1:])
