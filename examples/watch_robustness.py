"""Watch robustness while training: `python -m examples.watch_robustness --log-dir logs`.

Accuracy does not show how easily an attack changes the answers. The attack cost of held-out images
does. Training stops when that cost has not risen for five epochs, and keeps the best epoch.
"""

import argparse

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import a2d_keras as a2d


def main(argv=None):
    """Train with the attack cost in the logs, and print it for every epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=60, help="the maximum number of epochs (60)")
    parser.add_argument("--log-dir", help="a folder for the logs of TensorBoard")
    options = parser.parse_args(argv)
    keras.utils.set_random_seed(0)
    x, y = load_digits(return_X_y=True)
    x = (x / 16).reshape(-1, 8, 8, 1)
    x, x_held_out, y, y_held_out = train_test_split(x, y, test_size=400, random_state=0)

    monitor = a2d.AttackCostMonitor(x_held_out[:100])
    stop = keras.callbacks.EarlyStopping(
        "val_attack_cost", mode="max", patience=5, restore_best_weights=True
    )
    logs = [keras.callbacks.TensorBoard(options.log_dir)] if options.log_dir else []
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
    callbacks = [monitor, stop, *logs]  # the monitor first: the others read its log
    held_out = (x_held_out, y_held_out)
    history = model.fit(
        x, y, epochs=options.epochs, validation_data=held_out, callbacks=callbacks, verbose=0
    ).history

    costs = history["val_attack_cost"]
    print("epoch  accuracy  attack cost (median steps)")
    for epoch, (accuracy, cost) in enumerate(zip(history["val_accuracy"], costs, strict=True)):
        kept = "  kept" if epoch == costs.index(max(costs)) else ""
        print(f"{epoch + 1:5}  {accuracy:8.1%}  {cost:5.1f}{kept}")


if __name__ == "__main__":
    main()
