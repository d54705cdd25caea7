"""Keras callbacks: attack costs while training, detectors kept up to date, verdicts watched."""

from a2d_keras.callbacks.adapt_detector import AdaptDetector
from a2d_keras.callbacks.attack_cost_monitor import AttackCostMonitor
from a2d_keras.callbacks.detection_log import DetectionLog

<<<<<<< HEAD
import keras
import numpy as np
import tensorflow as tf
from scipy import stats

from a2d_keras import inputs
from a2d_keras.attacks import BIM
from a2d_keras.attacks.base import Attack
from a2d_keras.classifier import Classifier
from a2d_keras.detection.guarded_model import GuardedModel
from a2d_keras.detection.layer import DetectorLayer
from a2d_keras.validation import require_rate, require_slots, require_whole

_BACK_TO_NORMAL = 0.05  # p-value at which an excursion is over: alarms must not flutter


class AttackCostMonitor(keras.callbacks.Callback):
    """Measure after every epoch what it costs to attack held-out inputs: how robust the model is.

    The median cost goes into the epoch's `logs`, where the callbacks listed after this one, the
    progress bar and `History` find it. Higher is more robust, so tell `EarlyStopping` and
    `ModelCheckpoint` `mode="max"`. Where the model does not give finite numbers, it is NaN.

    Args:
        x: Held-out inputs within the bounds: an array or tensor (n, *input_shape), or a
            `tf.data.Dataset` of batches of them, alone or as the first of a tuple.
        attack: The attack, not a targeted one. Each epoch costs up to as many gradients for each
            input as its `max_iterations`. Defaults to `BIM()`.
        name: The name in `logs`. Defaults to `"val_attack_cost"`, which TensorBoard shows as
            `epoch_attack_cost` among the curves of validation.
        bounds: Smallest and largest value an input may hold. Defaults to (0.0, 1.0).
        from_logits: What the model's outputs are; see `Classifier`. Defaults to None.
        slots: Inputs under attack at once, or `"auto"`, the fastest number on this machine; see
            `Attack`. Defaults to 128.

    Raises:
        ValueError: If an argument is not of its kind; when training begins, if the model is not a
            classifier, or the inputs are not what it takes; from a dataset
            `tf.errors.InvalidArgumentError`.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).uniform(size=(8, 4)), np.arange(8) % 3
        >>> monitor = AttackCostMonitor(x, attack=BIM(max_iterations=50))
        >>> stop = keras.callbacks.EarlyStopping("val_attack_cost", mode="max", patience=3)
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[monitor, stop]).history
        >>> len(history["val_attack_cost"])
        2
    """

    def __init__(
        self,
        x: Any,
        *,
        attack: Attack | None = None,
        name: str = "val_attack_cost",
        bounds: tuple[float, float] = (0.0, 1.0),
        from_logits: bool | None = None,
        slots: int | str = 128,
    ) -> None:
        super().__init__()
        attack = BIM() if attack is None else attack
        if not isinstance(attack, Attack) or attack.targeted:
            raise ValueError(f"`attack` must be an untargeted attack. Received: {attack}")
        if not isinstance(name, str) or not name:
            raise ValueError(f"`name` must be a name for the logs. Received: {name!r}")
        if inputs.count(x) == 0:
            raise ValueError("`x` must hold one input or more. Received: 0 inputs")
        require_slots(slots)
        self.x = x
        self.attack = attack
        self.name = name
        self.bounds = bounds
        self.from_logits = from_logits
        self.slots = slots
        self._classifier: Classifier | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Compile the attack, and refuse inputs that do not fit before an epoch is spent."""
        self._classifier = None
        if self.model.built:  # if not, the first batch builds it
            self._median_cost(budget=1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Put the median cost into the logs."""
        logs = {} if logs is None else logs
        if self.name in logs:
            raise ValueError(f"`name` must be new in the logs. Received: {self.name!r}")
        logs[self.name] = self._median_cost()

    def _median_cost(self, budget: int | None = None) -> float:
        if self._classifier is None:
            self._classifier = Classifier(
                self.model, bounds=self.bounds, from_logits=self.from_logits
            )
        slots = self.attack.count_slots(self._classifier, self.slots)
        result = self.attack(self._classifier, self.x, budget=budget, slots=slots)
        some = inputs.first(self.x, self._classifier, slots)
        finite = np.isfinite(self._classifier.logits(some)).all()
        return float(np.median(result.cost)) if finite else math.nan  # NaN resists every attack


class AdaptDetector(keras.callbacks.Callback):
    """Adapt a detector again when its classifier has been trained.

    Attack costs belong to one set of weights. List this after callbacks that change the weights
    when training ends, such as `EarlyStopping(restore_best_weights=True)`.

    Args:
        layer: The `DetectorLayer`; of a guarded model, `guarded.detector`.
        benign: Benign inputs, as for `DetectorLayer.adapt`.
        every: Adapt after every so many epochs, and at the end of training where the weights
            have changed since. By default only at the end.
        adversarial: Adversarial inputs, likewise; for a `"knn"` detector only.
        verbose: 1 shows progress and what was learned, 0 is silent. Defaults to 0.

    Raises:
        ValueError: If an argument is not of its kind, or adversarial inputs are missing or not
            wanted; after training, if the detector cannot learn from the inputs.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).uniform(size=(100, 4)), np.arange(100) % 3
        >>> layer = DetectorLayer(model)
        >>> history = model.fit(x, y, verbose=0, callbacks=[AdaptDetector(layer, x)])
        >>> layer.up_to_date
        True
    """

    def __init__(
        self,
        layer: DetectorLayer,
        benign: Any,
        every: int | None = None,
        *,
        adversarial: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(layer, DetectorLayer):
            raise ValueError(
                "`layer` must be a DetectorLayer; of a guarded model, `guarded.detector`. "
                f"Received: {layer}"
            )
        if every is not None:
            require_whole("every", every)
        layer.rule.require_kinds(adversarial is not None)
        self.layer = layer
        self.benign = benign
        self.every = every
        self.adversarial = adversarial
        self.verbose = verbose

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adapt after every so many epochs."""
        if self.every and (epoch + 1) % self.every == 0:
            self._adapt()

    def on_train_end(self, logs: Any = None) -> None:
        """Adapt at the end, unless the last epoch did so."""
        if not (self.every and self.layer.up_to_date):
            self._adapt()

    def _adapt(self) -> None:
        self.layer.adapt(self.benign, self.adversarial, self.verbose)


class DetectionLog(keras.callbacks.Callback):
    """Count and log the inputs that a guarded model flags, and raise an alarm at too many.

    For `guarded.predict(x, callbacks=[log])`. One log may serve many calls, from many threads: the
    window slides over all inputs in the order in which they are judged, whatever the batches.

    An alarm is raised when so many of the last `window` inputs are flagged that benign inputs,
    flagged at the calibrated rate, would do so with a probability below `significance` (exact
    one-sided binomial test). Another one can follow only when that probability has been 0.05 or
    more in between. With the defaults, 10 million benign inputs that were flagged at exactly the
    rate raised none.

    Args:
        path: File to which every batch appends a line of JSON. Defaults to None.
        writer: A `tf.summary.SummaryWriter` for TensorBoard, which must be installed; its step is
            the number of inputs so far. Defaults to None.
        on_alarm: Called at an alarm with a dict: `time`, and the window's `window_inputs`,
            `window_flagged` and `p_value`. Defaults to None.
        window: The number of last inputs that count. Defaults to 1000.
        significance: The probability below which chance does not explain what is flagged, at
            most 0.05. Defaults to 1e-6.
        false_positive_rate: The rate at which benign inputs are flagged. Defaults to the
            detector's, which is calibrated for `"zscore"` alone: of a `"knn"` detector give the
            rate that you measured.

    Attributes:
        inputs: Inputs seen.
        flagged: Inputs flagged.
        alarms: Alarms raised.

    Raises:
        ValueError: If an argument is not of its kind, or the model is not a `GuardedModel`.
        OSError: If the file cannot be written.

    Examples:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> x = np.random.default_rng(0).uniform(size=(100, 4))
        >>> guarded = GuardedModel(DetectorLayer(model))
        >>> guarded.adapt(x, verbose=0)
        >>> log = DetectionLog(on_alarm=print)
        >>> verdicts = guarded.predict(x, verbose=0, callbacks=[log])
        >>> log.inputs, log.flagged <= 5, log.alarms
        (100, True, 0)
    """

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        writer: tf.summary.SummaryWriter | None = None,
        on_alarm: Callable[[dict[str, Any]], Any] | None = None,
        *,
        window: int = 1000,
        significance: float = 1e-6,
        false_positive_rate: float | None = None,
    ) -> None:
        super().__init__()
        if not (writer is None or isinstance(writer, tf.summary.SummaryWriter)):
            raise ValueError(
                "`writer` must be a writer that `tf.summary.create_file_writer` made. "
                f"Received: {writer!r}"
            )
        if not (on_alarm is None or callable(on_alarm)):
            raise ValueError(f"`on_alarm` must be callable. Received: {on_alarm!r}")
        if not 0 < significance <= _BACK_TO_NORMAL:
            raise ValueError(
                f"`significance` must lie between 0 and {_BACK_TO_NORMAL}. Received: {significance}"
            )
        require_whole("window", window)
        if false_positive_rate is not None:
            require_rate(false_positive_rate)
        if path is not None:
            open(path, "a").close()  # a path that cannot be written is refused now
        self.path = path
        self.writer = writer
        self.on_alarm = on_alarm
        self.window = window
        self.significance = significance
        self.false_positive_rate = false_positive_rate
        self.inputs = self.flagged = self.alarms = 0
        self._recent: collections.deque[bool] = collections.deque(maxlen=window)
        self._alarmed = False
        self._lock = threading.Lock()

    def set_model(self, model: keras.Model) -> None:
        """Refuse a model that gives no verdicts."""
        if not isinstance(model, GuardedModel):
            raise ValueError(
                "A DetectionLog is for `predict` of a guarded model. "
                f"Received: {type(model).__name__} {model.name!r}"
            )
        super().set_model(model)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count and log the inputs flagged, and raise the alarms."""
        verdicts = logs.get("outputs", logs)["is_adversarial"]  # newer versions of Keras unpack
        flags = np.atleast_1d(verdicts).astype(bool)  # a single verdict, to a number besides
        if not len(flags):
            return
        with self._lock:
            alarms = [alarm for flag in flags if (alarm := self._slide(bool(flag)))]
            self.inputs += len(flags)
            self.flagged += int(flags.sum())
            self.alarms += len(alarms)
            self._log(int(batch), flags, len(alarms))
        if self.on_alarm is not None:
            for alarm in alarms:  # out of the lock, as it may predict with this log itself
                self.on_alarm(alarm)

    def _slide(self, flag: bool) -> dict[str, Any] | None:
        """Move the window by one input, and return an alarm where an excursion begins."""
        self._recent.append(flag)
        state = self._state()
        begins = state["p_value"] < self.significance and not self._alarmed
        over = state["p_value"] >= _BACK_TO_NORMAL
        self._alarmed = begins or (self._alarmed and not over)
        return {"time": _now(), **state} if begins else None

    def _state(self) -> dict[str, Any]:
        rate = self.false_positive_rate or self.model.detector.false_positive_rate
        inputs, flagged = len(self._recent), sum(self._recent)
        return {
            "window_inputs": inputs,
            "window_flagged": flagged,
            "p_value": _p_value(flagged, inputs, rate),
        }

    def _log(self, batch: int, flags: np.ndarray, alarms: int) -> None:
        state = self._state()
        if self.path is not None:
            counts = {"inputs": len(flags), "flagged": int(flags.sum())}
            record = {"time": _now(), "batch": batch, **counts, **state, "alarms": alarms}
            with open(self.path, "a", encoding="utf-8") as file:  # closed, so nothing waits
                file.write(json.dumps(record) + "\n")
        if self.writer is not None:
            share = state["window_flagged"] / state["window_inputs"]
            with self.writer.as_default(step=self.inputs):
                tf.summary.scalar("flagged_share", flags.mean())
                tf.summary.scalar("window_flagged_share", share)
                tf.summary.scalar("alarms", self.alarms)
            self.writer.flush()


@functools.lru_cache(maxsize=10_000)
def _p_value(flagged: int, inputs: int, rate: float) -> float:
    """Compute the probability that of so many benign inputs so many or more are flagged."""
    return float(stats.binomtest(flagged, inputs, rate, alternative="greater").pvalue)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
=======
__all__ = ["AdaptDetector", "AttackCostMonitor", "DetectionLog"]
>>>>>>> infra
