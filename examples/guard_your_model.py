"""Guard your own model: `python -m examples.guard_your_model`.

It trains a small classifier of handwritten digits, guards it, and judges new images before and
after an attack. Put your own model and data in place of these.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import a2d_keras as a2d


def main():
    """Train, guard, attack, detect."""
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 8, 8, 1).astype("float32")  # 1,797 images, from 0 to 1
    order = np.random.default_rng(0).permutation(len(x))
    train, benign, fresh = np.split(order, [1200, 1500])

    model = train_classifier(x[train], y[train])
    guarded = a2d.guard(model, bounds=(0.0, 1.0))
    guarded.adapt(x[benign], verbose=0)  # images it was not trained on
    guarded.save("guarded.keras")  # the detector travels with the model

    attack = a2d.BIM(eps_iter=0.01, max_iterations=50)
    crafted = attack(guarded.detector.classifier, x[fresh])
    accuracy = (model.predict(x[fresh], verbose=0).argmax(-1) == y[fresh]).mean()
    print(f"accuracy on {len(fresh)} new images: {accuracy:.1%}")
    print(f"after an attack that changes {crafted.success.mean():.1%} of the answers:")
    for name, images in {"benign": x[fresh], "adversarial": crafted.adversarial}.items():
        flagged = guarded.predict(images, verbose=0)["is_adversarial"]
        print(f"  {name} images flagged: {flagged.mean():.1%}")
    print("written to guarded.keras")


def train_classifier(x, y):
    """Train a small convolutional classifier, with its softmax inside."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=30, verbose=0)
    return model


if __name__ == "__main__":
    main()
