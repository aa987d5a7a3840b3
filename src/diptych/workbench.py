"""The composition root: finds models, opens collections, and puts the parts together.

Commands and the Python API call these few functions; everything below takes ready parts. A model comes from, in this
order: what was asked for, the collection's own, the configured default ($DIPTYCH_MODEL), the best general model in
the local cache, and at last the bundled `diptych-tiny`, with a sentence that says what it is.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.core.errors import CollectionBusy

if TYPE_CHECKING:
    from threading import Event

    from diptych.core.types import Embedder, Pair, Skipped
    from diptych.data.sources import Source
    from diptych.index.jobs import IndexReport
    from diptych.index.search import Searcher
    from diptych.index.store import Collection
    from diptych.models.engine import Precision, Runtime

PICTOGRAMS = "pictograms"
BUNDLED = "diptych-tiny"
GENERAL = "siglip2-base-patch16-256"
SMALL_MODEL = (
    f"{BUNDLED} is a small model trained on drawings; for photographs and sentences get a general one: "
    f"`diptych models pull {GENERAL}`"
)


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """Which model, and a sentence for people when it was nobody's explicit choice."""

    name: str
    notice: str | None = None


def choose_model(requested: str | None, collection: str | None = None) -> ModelChoice:
    """The model to use, as the module's docstring orders them. `collection` is the name of the collection's own."""
    explicit = requested or collection or os.environ.get("DIPTYCH_MODEL")
    if explicit:
        return ModelChoice(name=explicit, notice=SMALL_MODEL if explicit == BUNDLED and not requested else None)
    general = best_local_model()
    return ModelChoice(name=general) if general else ModelChoice(name=BUNDLED, notice=SMALL_MODEL)


def best_local_model() -> str | None:
    """The best general model among those pulled, by the catalogue's order; None when there is none."""
    from diptych.models.checkpoints import folders

    return folders.best_general()


def load_model(
    name_or_path: str, *, precision: "Precision | None" = None, runtime: "Runtime | None" = None,
    device: str | None = None, like: str | None = None, image_size: int | None = None, patch_size: int | None = None,
) -> "Embedder":
    """The Embedder of a model's name, folder or file (see `diptych.load_model`). One from another place than the cache
    is named by its path, which is what a collection made with it must remember."""
    from diptych.models.checkpoints import folders, loading

    embedder = loading.load_embedder(name_or_path, like, image_size, patch_size, precision, runtime, device)
    found = folders.find(name_or_path, like)
    if found.folder.resolve().parent in (folders.models_folder().resolve(), folders.bundled_folder().resolve()):
        return embedder if found.folder.name == embedder.spec.name else embedder.renamed(found.folder.name)
    return embedder.renamed(str(Path(name_or_path).expanduser().resolve()))


def model_for(collection: str, requested: str | None = None) -> ModelChoice:
    """The model to use with a collection, which need not exist yet: what was asked for, else the collection's own …"""
    from diptych.index import store

    own = store.Collection(collection).manifest().model if collection in store.list_names() else None
    return choose_model(requested, own)


def open_collection(name: str, model: str | None = None) -> "Searcher":
    """A collection ready to search. "pictograms" is the bundled corpus: the first time, it is indexed now.

    IndexMismatch if `model` is not the one that embedded it.
    """
    from diptych.index.search import Searcher
    from diptych.index.store import Collection

    if model is not None and not isinstance(model, str):
        raise TypeError(f"model is a model's name or folder, got a {type(model).__name__}; an Embedder of your own "
                        "goes into diptych.index.search.Searcher(collection, embedder)")
    if name != PICTOGRAMS:
        Collection(name)  # a name that does not exist is told before a model is loaded
    embedder = load_model(model_for(name, model).name)
    if name == PICTOGRAMS:
        index_pictograms(embedder)
    return Searcher(Collection(name), embedder)


def index(paths: Sequence[str | Path], to: str, model: str | None = None, *, prune: bool = True) -> "IndexReport":
    """Bring collection `to` up to date with folders, pictures and tables; "pictograms" names the bundled corpus."""
    from diptych.data.sources import open_sources
    from diptych.index import jobs, store

    store.collection_folder(to)  # a bad name is told before anything is read
    files = [path for path in paths if not is_bundled(path)]
    if to == PICTOGRAMS and files:
        raise ValueError(f"{PICTOGRAMS!r} is the bundled collection; index {files[0]} into one of another name")
    sources = open_sources(files)
    if len(files) < len(paths):
        sources.append(_pictograms())
    embedder = load_model(model_for(to, model).name)
    collection = pictograms_collection(embedder) if to == PICTOGRAMS else store.open_or_create(to, embedder.spec)
    return jobs.index_pairs({source.root: source.records for source in sources}, collection, embedder,
                            total=sum(source.total for source in sources), prune=prune)


def pictograms_collection(embedder: "Embedder") -> "Collection":
    """The bundled collection, empty at first. Made anew if it is of another build of the corpus or of this model.

    It can be searched at once, while `index_pictograms` fills it in another thread or process.
    """
    from diptych.index import store

    if PICTOGRAMS in store.list_names():
        manifest = store.Collection(PICTOGRAMS).manifest()
        other_build = bool(manifest.sources) and all(s.root != _pictograms_root() for s in manifest.sources)
        same_model = manifest.model == embedder.spec.name
        if other_build or (same_model and manifest.fingerprint != embedder.spec.fingerprint):
            store.remove(PICTOGRAMS)
    return store.open_or_create(PICTOGRAMS, embedder.spec)


def index_pictograms(embedder: "Embedder", stop: "Event | None" = None) -> "IndexReport | None":
    """Index the bundled corpus. None if that is done, or if another process is doing it.

    `stop`, once set from another thread, ends it by KeyboardInterrupt; the next call goes on from there.
    """
    from diptych.index import jobs, store

    try:
        collection = pictograms_collection(embedder)
        if any(s.root == _pictograms_root() and s.complete for s in collection.manifest().sources):
            return None
        source = _pictograms()
        return jobs.index_pairs({source.root: _until(stop, source.records)}, collection, embedder, total=source.total)
    except CollectionBusy:
        if PICTOGRAMS not in store.list_names():  # it is just being created; there is nothing to search yet
            raise
        return None


def _until(stop: "Event | None", records: "Iterable[Pair | Skipped]") -> "Iterator[Pair | Skipped]":
    for record in records:
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt("stopped")
        yield record


def is_bundled(path: str | Path) -> bool:
    """Whether it names the bundled corpus."""
    return str(path) == PICTOGRAMS and not Path(path).exists()


def _pictograms() -> "Source":
    """The bundled corpus as a source whose root names its build."""
    from diptych.data import pictograms
    from diptych.data.sources import Source

    total = pictograms.manifest().counts["pictures"]
    return Source(root=_pictograms_root(), total=total, records=pictograms.pairs())


def _pictograms_root() -> str:
    from diptych.data import pictograms

    return f"{PICTOGRAMS}@{pictograms.manifest().sha256[:12]}"
