"""What Prometheus reads from `/metrics`."""

import prometheus_client as prometheus

prometheus.disable_created_metrics()
_P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
_INPUTS = tuple(2**power for power in range(11))


class Metrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self):
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)

        def made(kind, name, what, labels=(), **options):
            return kind(f"a2d_{name}", what, labels, registry=registry, **options)

        asked = ("path", "status")
        self.requests = made(prometheus.Counter, "requests", "Requests answered", asked)
        self.seconds = made(prometheus.Histogram, "request_seconds", "Seconds to answer", ("path",))
        self.inputs = made(prometheus.Counter, "inputs", "Inputs judged")
        self.flagged = made(prometheus.Counter, "flagged", "Inputs flagged as adversarial")
        self.p_values = made(prometheus.Histogram, "p_value", "P-values", buckets=_P_VALUES)
        self.batches = made(prometheus.Histogram, "batch_inputs", "Inputs a batch", buckets=_INPUTS)
        self.waiting = made(
            prometheus.Gauge, "waiting_requests", "Requests read, waiting or judged"
        )

    def judged(self, outputs):
        """Count the verdicts in a dict of outputs, arrays; return how many are flagged."""
        flags = outputs["is_adversarial"]
        self.inputs.inc(len(flags))
        self.flagged.inc(flags.sum())
        for p_value in outputs.get("p_value", ()):
            self.p_values.observe(p_value)
        return int(flags.sum())

    def text(self):
        """Return the metrics in the form that Prometheus reads."""
        return prometheus.generate_latest(self.registry)
