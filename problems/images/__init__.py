"""Classifiers of images: perceptrons and convolutional networks, of MNIST, CIFAR-10 and the embedded digits."""
