"""Any trained Keras classifier as a function from inputs to logits."""

from a2d_keras.classifier.classifier import Classifier as Classifier
