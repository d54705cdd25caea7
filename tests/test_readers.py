import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import a2d_keras as a2d
from a2d_keras.cli.readers import read


@pytest.fixture(scope="module")
def pixels(digits):
    return np.round(255 * digits.x_test[:10]).astype("uint8")


@pytest.fixture(scope="module")
def colour():
    """A classifier of colour images of any size, with inputs from -1 to 1."""
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return a2d.Classifier(keras.Model(inputs, keras.layers.Dense(4)(pooled)), bounds=(-1, 1))


@pytest.fixture(scope="module")
def channels_first():
    """A classifier of colour images with the channels first."""
    return flat((3, 5, 7), data_format="channels_first")


def flat(shape, **options):
    """A classifier with a class for each number of its inputs."""
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten()])
    return a2d.Classifier(model, from_logits=True, **options)


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


def write_images(folder, pixels):
    (folder / "more").mkdir(parents=True)
    for index, image in enumerate(pixels):
        where = folder / "more" if index >= 6 else folder
        (where / f"{index}.png").write_bytes(png(image))
    (folder / "notes.txt").write_text("no image")
    return folder


def write_records(path, features):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feature in features:
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return path


def encoded(image, name="image"):
    return {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[png(image)])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[7])),
    }


def everything(source, classifier, key=None):
    batches = list(read(str(source), classifier, key).batches(4))
    names = [name for names, _ in batches for name in names]
    return names, np.concatenate([images for _, images in batches])


def assert_read(source, classifier, pixels, names, key=None):
    found, images = everything(source, classifier, key)
    assert found == names
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, pixels.astype("float32") / 255)


NUMBERS = [str(index) for index in range(10)]


class TestArrays:
    def test_pixels_are_scaled(self, classifier, pixels, tmp_path):
        np.save(tmp_path / "x.npy", pixels)
        assert_read(tmp_path / "x.npy", classifier, pixels, NUMBERS)

    def test_numbers_are_taken_as_they_are(self, classifier, digits, tmp_path):
        np.savez(tmp_path / "x.npz", x=digits.x_test[:3].astype("float64"), y=digits.y_test[:3])
        _, images = everything(tmp_path / "x.npz", classifier)
        np.testing.assert_array_equal(images, digits.x_test[:3])

    def test_grey_images_need_no_channel(self, classifier, pixels, tmp_path):
        np.save(tmp_path / "x.npy", pixels[..., 0])
        assert_read(tmp_path / "x.npy", classifier, pixels, NUMBERS)

    def test_key(self, classifier, pixels, tmp_path):
        np.savez(tmp_path / "x.npz", x_train=0 * pixels, x_test=pixels)
        assert_read(tmp_path / "x.npz", classifier, pixels, NUMBERS, key="x_test")

    def test_only_array(self, classifier, pixels, tmp_path):
        np.savez_compressed(tmp_path / "x.npz", anything=pixels)
        assert_read(tmp_path / "x.npz", classifier, pixels, NUMBERS)


class TestImages:
    def test_folder(self, classifier, pixels, tmp_path):
        names = [f"{i}.png" for i in range(6)] + [f"more/{i}.png" for i in range(6, 10)]
        assert_read(write_images(tmp_path / "images", pixels), classifier, pixels, names)

    def test_one_and_pattern(self, classifier, pixels, tmp_path):
        folder = write_images(tmp_path / "images", pixels)
        one = str(folder / "3.png")
        assert_read(one, classifier, pixels[3:4], [one])
        names = [str(folder / f"{i}.png") for i in range(6)]
        assert_read(folder / "*.png", classifier, pixels[:6], names)

    def test_colour_and_bounds(self, colour, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
        (tmp_path / "a.PNG").write_bytes(png(pixels))
        _, images = everything(tmp_path, colour)
        np.testing.assert_allclose(images[0], pixels / 127.5 - 1, atol=1e-6)
        (tmp_path / "a.PNG").rename(tmp_path / "b.png")
        (tmp_path / "a.jpeg").write_bytes(tf.io.encode_jpeg(pixels, quality=95).numpy())
        names, images = everything(tmp_path, colour)
        assert names == ["a.jpeg", "b.png"]
        assert np.abs(images[0] - images[1]).mean() < 0.5

    def test_grey_is_read_as_colour_where_the_model_wants_it(self, colour, pixels, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels[0]))
        assert everything(tmp_path, colour)[1].shape == (1, 8, 8, 3)

    def test_channels_first(self, channels_first, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
        (tmp_path / "a.png").write_bytes(png(pixels))
        expected = np.moveaxis(pixels, -1, 0)[None]
        assert_read(tmp_path, channels_first, expected, ["a.png"])
        path = write_records(tmp_path / "a.tfrecord", [encoded(pixels)])
        assert_read(path, channels_first, expected, [f"{path}:0"])
        np.save(tmp_path / "x.npy", expected)  # an array has the classifier's layout already
        assert_read(tmp_path / "x.npy", channels_first, expected, ["0"])

    def test_grey_channels_first(self, pixels, tmp_path):
        classifier = flat((1, 8, 8), data_format="channels_first")
        (tmp_path / "a.png").write_bytes(png(pixels[0]))
        assert_read(tmp_path, classifier, pixels[:1, None, ..., 0], ["a.png"])
        np.save(tmp_path / "x.npy", pixels[..., 0])
        assert_read(tmp_path / "x.npy", classifier, pixels[:, None, ..., 0], NUMBERS)

    def test_one_range_per_feature(self, pixels, tmp_path):
        """Each feature of an image is scaled to its own bounds; other numbers stay."""
        low = np.linspace(-3, 5, 64).reshape(8, 8, 1)
        high = low + np.linspace(1, 9, 64).reshape(8, 8, 1)
        classifier = flat((8, 8, 1), bounds=(low, high))
        expected = low + (high - low) * pixels[:1] / 255
        for x in (pixels[:1], pixels[:1, ..., 0], expected):  # grey images often lack the channel
            np.save(tmp_path / "x.npy", x)
            _, images = everything(tmp_path / "x.npy", classifier)
            np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)

    def test_without_channels(self, pixels, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels[0]))
        assert everything(tmp_path, flat((8, 8)))[1].shape == (1, 8, 8)

    def test_a_camera_turns_images(self, colour, tmp_path):
        """Each of the eight orientations of EXIF, as Pillow turns them."""
        rng = np.random.default_rng(0)
        pixels = np.kron(rng.integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1))).astype("uint8")
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            path = tmp_path / "photo.jpg"
            Image.fromarray(pixels).save(path, quality=100, subsampling=0, exif=exif)
            with Image.open(path) as image:
                upright = np.asarray(ImageOps.exif_transpose(image))
            _, images = everything(path, colour)
            assert images.shape == (1, *upright.shape)
            np.testing.assert_allclose(images[0], upright / 127.5 - 1, atol=0.1)

    @pytest.mark.parametrize("mode", ["P", "I;16", "L", "RGB", "RGBA", "LA"])
    def test_every_kind_of_png(self, classifier, pixels, tmp_path, mode):
        grey = pixels[0, ..., 0]
        image = Image.fromarray(grey)
        image = Image.fromarray(257 * grey.astype("uint16")) if mode == "I;16" else image
        image.convert(mode).save(tmp_path / "a.png")
        assert_read(tmp_path, classifier, pixels[:1], ["a.png"])

    def test_resize(self, classifier, colour, pixels, tmp_path):
        for index, shape in enumerate([(16, 16), (24, 12), (8, 8)]):
            (tmp_path / f"{index}.png").write_bytes(png(np.full((*shape, 1), 100 + index, "uint8")))
        for taker, shape in (
            (classifier, (8, 8, 1)),
            (colour, (16, 16, 3)),
        ):  # the first is 16 × 16
            images = np.stack([r.image for r in read(str(tmp_path), taker, resize=True).rows()])
            assert images.shape == (3, *shape)
            (low, high), levels = taker.bounds, np.array([100, 101, 102]).reshape(3, 1, 1, 1)
            np.testing.assert_allclose(images - low - (high - low) * levels / 255, 0, atol=1e-6)

    def test_rows_with_errors(self, classifier, pixels, tmp_path):
        """An image that cannot be read does not stop the rest, unless it must."""
        folder = write_images(tmp_path / "images", pixels[:3])
        (folder / "1.png").write_bytes(b"broken")
        rows = list(read(str(folder), classifier).rows())
        assert [row.name for row in rows] == ["0.png", "1.png", "2.png"]
        assert [row.image is None for row in rows] == [False, True, False]
        assert "complete PNG or JPEG" in rows[1].error
        assert read(str(folder), classifier).source.skipped == ("notes.txt",)
        with pytest.raises(ValueError, match="--strict skips none. Received: notes.txt of"):
            read(str(folder), classifier, strict=True)
        (folder / "notes.txt").unlink()
        with pytest.raises(ValueError, match=r"complete PNG or JPEG.*1\.png"):
            list(read(str(folder), classifier, strict=True).rows())

    def test_other_formats_are_named(self, classifier, tmp_path):
        (tmp_path / "a.HEIC").write_bytes(b"")
        for source in (tmp_path, tmp_path / "a.HEIC"):
            with pytest.raises(
                ValueError, match=r"convert .* such as HEIC. Received: .*a\.HEIC of"
            ):
                read(str(source), classifier)


class TestRecords:
    @pytest.mark.parametrize(("name", "key"), [("image", None), ("photo", "photo")])
    def test_encoded_images(self, classifier, pixels, tmp_path, name, key):
        examples = [encoded(image, name) for image in pixels]
        write_records(tmp_path / "a-0.tfrecord", examples[:7])
        write_records(tmp_path / "a-1.tfrecord", examples[7:])
        names = [f"{tmp_path}/a-0.tfrecord:{i}" for i in range(7)]
        names += [f"{tmp_path}/a-1.tfrecord:{i}" for i in range(3)]
        assert_read(tmp_path / "a-*.tfrecord", classifier, pixels, names, key)

    def test_numbers(self, classifier, digits, tmp_path):
        values = tf.train.FloatList(value=digits.x_test[0].ravel())
        path = write_records(tmp_path / "a.records", [{"x": tf.train.Feature(float_list=values)}])
        names, images = everything(path, classifier)
        assert names == [f"{path}:0"]
        np.testing.assert_array_equal(images, digits.x_test[:1])


def test_dataset(classifier, pixels, tmp_path):
    np.save(tmp_path / "x.npy", pixels)
    dataset = read(str(tmp_path / "x.npy"), classifier).dataset(4)
    for _ in range(2):  # it can be read again
        batches = list(dataset)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(np.concatenate(batches), pixels.astype("float32") / 255)


def test_reads_no_further_than_asked(classifier, pixels, tmp_path):
    folder = write_images(tmp_path / "images", pixels)
    (folder / "4.png").write_bytes(b"broken")
    batches = read(str(folder), classifier).batches(2)
    assert next(batches)[0] == ("0.png", "1.png")
    assert next(batches)[0] == ("2.png", "3.png")
    with pytest.raises(ValueError, match=r"complete PNG or JPEG.*Received: .*4\.png"):
        next(batches)


class TestErrors:
    def refuses(self, source, classifier, message, key=None):
        with pytest.raises(ValueError, match=message):
            everything(source, classifier, key)

    def test_nothing(self, classifier, tmp_path):
        for source in (tmp_path, tmp_path / "missing.npz", tmp_path / "*.png"):
            self.refuses(source, classifier, "There is nothing to read: name .* Received: ")

    def test_shapes(self, classifier, colour, pixels, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels[0]))
        (tmp_path / "b.png").write_bytes(png(pixels[0, :6]))
        message = r"shape \(8, 8, 1\); --resize brings .* Received: \(6, 8, 1\), b.png of "
        self.refuses(tmp_path, classifier, message)
        self.refuses(tmp_path, colour, r"\(8, 8, 3\); .* Received: \(6, 8, 3\), b.png of ")
        np.save(tmp_path / "x.npy", pixels.reshape(10, 64))
        self.refuses(tmp_path / "x.npy", classifier, r"\(8, 8, 1\). Received: \(64,\), 0 of ")

    def test_a_classifier_of_no_images(self, pixels, tmp_path):
        (tmp_path / "a.png").write_bytes(png(pixels[0]))
        flat = a2d.Classifier(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
        self.refuses(tmp_path, flat, r"Received: .* of the shape \(4,\)")

    @pytest.mark.parametrize("name", ["x.npz", "x.npy"])
    def test_broken_arrays(self, classifier, pixels, tmp_path, name):
        path = tmp_path / name
        (np.savez if name == "x.npz" else np.save)(path, pixels)
        path.write_bytes(path.read_bytes()[:-200])
        self.refuses(path, classifier, f"must be complete, .* Received: .*{name}: ")
        path.write_bytes(b"something else")
        self.refuses(path, classifier, f"must be complete, .* Received: .*{name}: ")

    def test_pickles_and_strings(self, classifier, tmp_path):
        np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
        self.refuses(tmp_path / "x.npy", classifier, "hold only numbers. Received: .*x.npy")
        np.save(tmp_path / "x.npy", np.array(["0.5"]))
        self.refuses(tmp_path / "x.npy", classifier, "array of real numbers. Received: <U3")
        np.save(tmp_path / "x.npy", np.float32(1))
        self.refuses(tmp_path / "x.npy", classifier, r"Received: float32 of the shape \(\)")

    def test_keys(self, classifier, pixels, tmp_path):
        np.savez(tmp_path / "x.npz", x_test=pixels, x_train=pixels)
        message = "with --key: one of x_test, x_train. Received: no --key for .*x.npz"
        self.refuses(tmp_path / "x.npz", classifier, message)
        self.refuses(tmp_path / "x.npz", classifier, "Received: --key x for", key="x")
        path = write_records(tmp_path / "a.tfrecord", [encoded(pixels[0], "photo")])
        self.refuses(path, classifier, "one of label, photo. Received: no --key for .*record:0")

    def test_broken_records(self, classifier, pixels, tmp_path):
        path = write_records(tmp_path / "a.tfrecord", [encoded(image) for image in pixels])
        path.write_bytes(path.read_bytes()[:-5])
        self.refuses(path, classifier, "TFRecords must be complete.* Received: .*a.tfrecord")
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(b"\xff no example")
        self.refuses(path, classifier, "each a `tf.train.Example`. Received: .*a.tfrecord")
        numbers = tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2]))
        write_records(path, [{"x": numbers}])
        self.refuses(path, classifier, "Received: 2 numbers in .*a.tfrecord:0")
