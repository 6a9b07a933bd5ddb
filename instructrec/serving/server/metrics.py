"""What the server counts, in Prometheus' form."""

import dataclasses
import time

import prometheus_client as prometheus
from starlette import types

_SECONDS = (
  *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
  *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = tuple(4**power for power in range(2, 10))


class Metrics:
  """Counters and histograms of one server, in a registry of its own."""

  def __init__(self) -> None:
    self.registry = prometheus.CollectorRegistry()
    prometheus.ProcessCollector(registry=self.registry)
    prometheus.GCCollector(registry=self.registry)

    def histogram(name, text, buckets, labels=()):
      return prometheus.Histogram(
        name, text, labels, buckets=buckets, registry=self.registry
      )

    def counter(name, text, labels=()):
      return prometheus.Counter(name, text, labels, registry=self.registry)

    def gauge(name, text, labels=()):
      return prometheus.Gauge(name, text, labels, registry=self.registry)

    self.requests = counter(
      "rec_request", "Requests answered.", ("route", "status")
    )
    self.duration = histogram(
      "rec_request_duration_seconds",
      "From the request to the end of its answer.",
      _SECONDS,
      ("route",),
    )
    self.queued = histogram(
      "rec_queue_duration_seconds", "Waiting for a step.", _SECONDS
    )
    self.prepared = histogram(
      "rec_tokenize_duration_seconds",
      "Names, filters and tokens of a request.",
      _SECONDS,
    )
    self.inference = histogram(
      "rec_inference_duration_seconds", "A step of the model.", _SECONDS
    )
    self.batch_rows = histogram(
      "rec_batch_rows", "Questions of a step.", _COUNTS
    )
    self.batch_tokens = histogram(
      "rec_batch_tokens", "Tokens of a step.", _TOKENS
    )
    self.queue_size = gauge("rec_queue_size", "Questions that wait.")
    self.cut = counter(
      "rec_truncated_documents", "Documents longer than what is read of them."
    )
    self.rejected = counter(
      "rec_rejected", "Requests refused before they were answered.", ("reason",)
    )
    self.compiled = counter(
      "rec_compile", "Programs compiled or loaded before they were needed."
    )
    self.generation = gauge(
      "rec_catalog_version", "Counts the times that run and catalogue opened."
    )
    self.reloads = counter("rec_reload", "Reloads.", ("outcome",))

  def text(self) -> bytes:
    """All of it, as `/metrics` answers."""
    return prometheus.generate_latest(self.registry)


@dataclasses.dataclass(frozen=True)
class Measured:
  """ASGI: counts and times the requests of each route.

  Attributes:
    app: what answers.
    metrics: what counts.
    routes: paths that are counted by name; all others are one, so that nobody
      makes labels without end.
  """

  app: types.ASGIApp
  metrics: Metrics
  routes: frozenset[str]

  async def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> None:
    """Passes a request on and counts how it was answered."""
    if scope["type"] != "http":
      await self.app(scope, receive, send)
      return
    path = scope["path"]
    route = path if path in self.routes else "other"
    began, status = time.perf_counter(), 500

    async def told(message: types.Message) -> None:
      nonlocal status
      if message["type"] == "http.response.start":
        status = message["status"]
      await send(message)

    try:
      await self.app(scope, receive, told)
    finally:
      self.metrics.requests.labels(route, str(status)).inc()
      self.metrics.duration.labels(route).observe(time.perf_counter() - began)
