"""Guard an ImageNet MobileNet: `python -m examples.guard_mobilenet PHOTOS`.

PHOTOS is a folder of photographs. The detector learns from one half and judges the other. Eighty
photographs are enough to try it, and a few hundred to rely on it. Weights are downloaded, unless
you name a file.
"""

import argparse

import keras
import numpy as np

import a2d_keras as a2d


def main(argv=None):
    """Guard MobileNet, and judge photographs before and after an attack."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", help="a folder of photographs, PNG or JPEG")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a file, or random")
    parser.add_argument("--alpha", type=float, default=1.0, help="the width of the network (1)")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels (224)")
    parser.add_argument("--out", default="guarded_mobilenet.keras", help="the model to write")
    arguments = parser.parse_args(argv)

    model = mobilenet(arguments.weights, arguments.alpha, arguments.size)
    benign, fresh = load(arguments.photos, arguments.size)

    guarded = a2d.guard(model, bounds=(-1.0, 1.0), slots=32)  # MobileNet takes -1 to 1
    guarded.adapt(benign)
    guarded.save(arguments.out)

    attack = a2d.BIM(eps_iter=0.0001, max_iterations=50)  # ImageNet's boundaries are near
    crafted = attack(guarded.detector.classifier, fresh, slots=32)
    print(f"adapted on {len(benign)} photographs; written to {arguments.out}")
    print(f"judged {len(fresh)} others, of which an attack changed {crafted.success.mean():.0%}:")
    for name, images in {"benign": fresh, "adversarial": crafted.adversarial}.items():
        flagged = guarded.predict(images, verbose=0)["is_adversarial"]
        print(f"  {name} photographs flagged: {flagged.mean():.0%}")
    if arguments.weights == "random":
        print("The weights are random: this shows that the script runs, not what it detects.")


def mobilenet(weights, alpha, size):
    """Build MobileNet with `imagenet` weights, those of a file, or `random` ones."""
    weights = None if weights == "random" else weights
    return keras.applications.MobileNet((size, size, 3), alpha, weights=weights)


def load(folder, size):
    """Read photographs in a seeded order, scaled to -1 ... 1, in two halves."""
    photos = keras.utils.image_dataset_from_directory(
        folder, labels=None, image_size=(size, size), crop_to_aspect_ratio=True, shuffle=False
    )
    x = np.concatenate(list(photos.as_numpy_iterator())) / 127.5 - 1
    return np.array_split(np.random.default_rng(0).permutation(x), 2)


if __name__ == "__main__":
    main()
