"""What an operator watches, for Prometheus at /metrics. One registry per app, so that two apps do not share numbers.

Requests are counted here, as ASGI middleware; what happens inside a search comes from `core.telemetry`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diptych.core import telemetry
from diptych.core.errors import CollectionError
from diptych.service.shelf import Shelf

_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The numbers of one app."""

    def __init__(self, shelf: Shelf):
        self.registry = CollectorRegistry()
        self._shelf = shelf
        self.requests = Counter("diptych_http_requests", "Answered requests.", ["method", "route", "status"],
                                registry=self.registry)
        self.request_seconds = Histogram("diptych_http_request_seconds", "Time to the end of the answer.",
                                         ["method", "route"], buckets=_SECONDS, registry=self.registry)
        self.search_seconds = Histogram("diptych_search_seconds", "Time of a search, embedding included.",
                                        ["collection"], buckets=_SECONDS, registry=self.registry)
        self.uploads_rejected = Counter("diptych_uploads_rejected", "Pictures that were refused.", ["reason"],
                                        registry=self.registry)
        self.index_skipped = Counter("diptych_index_skipped", "Pictures that indexing left out.", ["reason"],
                                     registry=self.registry)
        self.registry.register(_Indexed(shelf))

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def listen(self) -> Callable[[], None]:
        """Take over what the rooms below report; returns the function that stops it."""
        return telemetry.listen(self._heard)

    def _heard(self, name: str, value: float, labels: dict[str, Any]) -> None:
        match name:
            case "search_ms" if self._shelf.find(labels["collection"]) is not None:
                self.search_seconds.labels(labels["collection"]).observe(value / 1000)
            case "index_skipped":
                self.index_skipped.labels(labels["reason"]).inc(value)
            case _:
                pass


class RequestMetrics:
    """ASGI middleware that counts and times requests by the route that answered, not by the path that was asked."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.request_seconds.labels(method, route).observe(time.perf_counter() - start)


class _Indexed(Collector):
    """How many pictures each collection holds, counted when it is asked for."""

    def __init__(self, shelf: Shelf):
        self._shelf = shelf

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """One gauge per loaded collection."""
        family = GaugeMetricFamily("diptych_indexed_pictures", "Pictures that can be found.", labels=["collection"])
        for slot in self._shelf.slots:
            if slot.searcher is not None:
                with suppress(CollectionError):  # removed meanwhile
                    family.add_metric([slot.name], slot.searcher.collection.count())
        yield family
