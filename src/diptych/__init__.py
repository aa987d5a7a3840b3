"""Diptych: the open workbench for image–text embeddings. A picture tower and a text tower on one hinge.

    model = diptych.load_model("diptych-tiny")
    trips = diptych.open_collection("trips")
    for hit in trips.search("a red boat", k=5):
        print(hit.uri, hit.probability)

Importing this package imports neither torch nor numpy; the first call does.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.core.types import Embedder
    from diptych.index.search import Searcher

__version__ = "0.1.0"
__all__ = ["load_model", "open_collection"]


def load_model(name_or_path: str) -> "Embedder":
    """The Embedder of that name, or of that folder of weights. ModelNotFound names the nearest name."""
    from diptych import workbench

    return workbench.load_model(name_or_path)


def open_collection(name: str, model: str | None = None) -> "Searcher":
    """A collection ready to search with the model that embedded it (or `model`, which must be the same one)."""
    from diptych import workbench

    return workbench.open_collection(name, model)
