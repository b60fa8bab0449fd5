"""Any Keras model as a problem: `model.from_keras`, and its parts."""
