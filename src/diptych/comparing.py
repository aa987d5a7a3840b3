"""Comparing models: puts data, models and a suite together, as `workbench` does for searching."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diptych.workbench import is_bundled, load_model

if TYPE_CHECKING:
    from diptych.core.types import Embedder
    from diptych.evaluation.dataset import Dataset
    from diptych.evaluation.embedded import Looks
    from diptych.evaluation.selection import Choice, Needs
    from diptych.evaluation.sets import Columns
    from diptych.evaluation.suite import Entrant, Evaluated
    from diptych.evaluation.tasks import Suite
    from diptych.models.checkpoints.folders import Found
    from diptych.models.embedder import TorchEmbedder


LIVE = "collection:"
"""What the name of a live collection begins with, where a data set is asked for."""


def compare(
    models: Sequence[str], on: str | Path, *, suite: "Suite | None" = None, languages: Sequence[str] | None = None,
    columns: "Columns | None" = None, limit: int | None = None, gold: str | Path | None = None,
    descriptions: str | Path | None = None,
) -> "Evaluated":
    """Evaluate models side by side on a folder, a table, shards, a public set by its name ("imagenet1k"), the bundled
    corpus ("pictograms"), or a live collection ("collection:trips") with the queries of `gold`, where the collection's
    own model comes first and `models` are those that might take its place.

    `suite` is `recipes.suites.standard()` by default; `limit` draws so many pictures; `descriptions` is a JSON file of
    what classes look like. ValueError and SourceError say what is wrong with the data, ModelNotFound which model is not
    here, IndexMismatch that the collection's vectors are not those of its model.
    """
    from diptych.evaluation.classes import described
    from diptych.evaluation.retrieval import in_languages
    from diptych.evaluation.suite import evaluate
    from diptych.models.choice import machine
    from diptych.recipes.suites import standard

    suite = suite or standard()
    for name in models:  # a wrong name is told before anything is read
        _find(name)
    if str(on).startswith(LIVE):
        data, entrants = _live(str(on).removeprefix(LIVE), models, gold, columns, languages, limit)
    elif gold is not None:
        raise ValueError(f"a gold set asks a collection: --on {LIVE}NAME, not {on}")
    else:
        scenes = bool(suite.segmentation or suite.depth or suite.grounding)
        data, entrants = _dataset(on, columns, languages, limit, suite.seed, scenes), _entrants(models)
    if descriptions is not None:
        data = described(data, descriptions)
    if languages:
        data = in_languages(data, languages)
    return evaluate(suite, entrants, data, machine("cpu"))


def evaluator(
    on: str | Path, *, suite: "Suite | None" = None, limit: int | None = 1000
) -> "Callable[[Embedder], Mapping[str, float]]":
    """What a training loop calls to hear how good its model is by now: the figures of the suite (`quick` by default) as
    {"text_to_image/hit@1": 0.612, …}, on so many pictures, without intervals and without costs.

    The data are opened and every picture decoded once here: SourceError and ValueError come before any training.
    """
    from diptych.evaluation.suite import check, scores
    from diptych.evaluation.vectors import readable
    from diptych.recipes.suites import quick

    suite = suite or quick()
    if str(on).startswith(LIVE):
        raise ValueError(f"a model is not judged on {on} while it learns; `diptych compare RUN/model --on {on} --gold "
                         "FILE` does it afterwards")
    data = readable(_dataset(on, None, None, limit, suite.seed))
    if not data.captions and len(data.classes) < 2:
        raise ValueError(f"{data.name} has neither captions nor two classes to judge a model by; give it a column "
                         "'caption' or 'label', text files beside the pictures, or a folder for each class")
    check(suite, data)
    return lambda embedder: scores(suite, embedder, data, _looks(cast("TorchEmbedder", embedder)))


def _live(
    name: str, models: Sequence[str], gold: str | Path | None, columns: "Columns | None",
    languages: Sequence[str] | None, limit: int | None,
) -> "tuple[Dataset, list[Entrant]]":
    """The collection as a data set, and its own model, whose vectors it has, before the others."""
    from diptych.evaluation.live import open_live
    from diptych.index.contents import read_contents
    from diptych.index.search import Searcher
    from diptych.index.store import Collection

    collection = Collection(name)
    if gold is None:
        raise ValueError(f"what should {name} find? --gold FILE: a table of queries and the pictures that each expects")
    if limit is not None:
        raise ValueError("a gold set is asked of the whole collection; leave --limit out")
    if columns and (given := [c for c in (columns.caption, columns.language, columns.split) if c]):
        raise ValueError(f"a gold set has its own query and language; leave column {given[0]!r} out")
    contents = read_contents(collection)
    data = open_live(collection, contents, gold, languages=languages, label=columns.label if columns else None,
                     others=bool(models))
    mine = collection.manifest().model
    own, *others = _entrants([mine, *(name for name in models if name != mine)])
    searcher = Searcher(collection, own.embedder)  # IndexMismatch for a model that has changed under its name
    looks = replace(own.looks, search=lambda query, k: searcher.search(query, k=k))
    return data, [replace(own, looks=looks, stored=contents.vectors_of(own.embedder.spec)),
                  *(one for one in others if one.embedder.spec.fingerprint != contents.fingerprint)]


def _dataset(
    on: str | Path, columns: "Columns | None", languages: Sequence[str] | None, limit: int | None, seed: int,
    scenes: bool = False,
) -> "Dataset":
    from diptych.data import pictograms
    from diptych.data.draws import generator
    from diptych.evaluation.corpus import SCENES, open_pictograms
    from diptych.evaluation.dataset import subset
    from diptych.evaluation.public.opening import open_named
    from diptych.evaluation.sets import open_dataset

    if limit is not None and limit < 2:
        raise ValueError(f"limit is at least 2 pictures, got {limit}")
    bundled = is_bundled(on) or Path(on).resolve() == pictograms.folder().resolve()
    if bundled:
        data = open_pictograms(languages, scenes=min(SCENES, limit or SCENES) if scenes else 0)
    else:
        data = open_named(str(on), columns) or open_dataset(on, columns)
    if limit is not None and limit < len(data):
        drawn = generator(seed, "limit").permutation(len(data))[:limit]
        # a drawn picture is told from all classes, as it is without a limit
        data = replace(subset(data, sorted(drawn.tolist())), classes=data.classes,
                       sha256=f"{data.sha256}-{limit}-{seed}")
    return data


def _entrants(models: Sequence[str]) -> "list[Entrant]":
    """Each with a name as short as tells it apart: a run folder's model is called by the run."""
    import functools

    from diptych.evaluation.suite import Entrant
    from diptych.models.checkpoints.captioner import has_captioner, open_captioner
    from diptych.models.operations import tower_operations

    short = [_short(name) for name in models]
    found = []
    for name, called in zip(models, short, strict=True):
        at = _find(name)
        embedder = cast("TorchEmbedder", load_model(name))
        speaks = at.path is None and has_captioner(at.folder)
        describe = open_captioner(at.folder, embedder).describe if speaks else None
        weights = at.path or at.folder / "model.safetensors"
        image, text = tower_operations(at.entry.towers)
        found.append(Entrant(
            embedder=embedder.renamed(called if short.count(called) == 1 else name), runtime=embedder.engine.name,
            open_model=functools.partial(load_model, name), weights_bytes=weights.stat().st_size,
            image_operations=image, text_operations=text, looks=replace(_looks(embedder), describe=describe)))
    return found


def _looks(embedder: "TorchEmbedder") -> "Looks":
    """What any of our towers shows of its patches."""
    import functools

    from diptych.evaluation.embedded import Looks
    from diptych.models import explain

    return Looks(patches=functools.partial(explain.patch_features, embedder),
                 heat=functools.partial(explain.heats, embedder))


def _find(name: str) -> "Found":
    from diptych.models.checkpoints import folders

    return folders.find(name)


def _short(name: str) -> str:
    if not Path(name).expanduser().exists():
        return name
    *_, parent, last = ("", *Path(name).expanduser().resolve().parts)
    return parent if last == "model" else last


def recommend(needs: "Needs", reports: str | Path = "reports") -> "list[Choice]":
    """The catalogue's and this machine's models by whether they meet the needs, the best first. What was measured here
    comes from the comparisons below `reports`. ModelNotFound for a language that no model knows."""
    from diptych.core.errors import ModelNotFound
    from diptych.evaluation.report.record import from_json
    from diptych.evaluation.selection import Candidate, choose, measured_in
    from diptych.models.checkpoints import catalog, folders

    files = sorted(Path(reports).rglob("comparison.json"))
    comparisons = [from_json(path.read_text(encoding="utf-8")) for path in files]
    measured = measured_in(comparisons, needs.languages)
    own = [_find(name).entry for name in folders.local_models() if catalog.find(name) is None]
    candidates = [Candidate(name=entry.name, languages=entry.languages, weights_bytes=4 * entry.parameters,
                            published=entry.score(catalog.IMAGENET), measured=measured.get(entry.name))
                  for entry in (*catalog.CATALOGUE, *own)]
    known = {one.name for one in candidates}
    weights = {cost.model: cost.weights_bytes for comparison in comparisons for cost in comparison.costs}
    runs = {model.name: model for comparison in comparisons for model in comparison.models if model.name not in known}
    candidates += [Candidate(name=model.name, languages=model.languages, weights_bytes=weights.get(model.name, 0),
                             published=None, measured=measured.get(model.name)) for model in runs.values()]
    if unknown := set(needs.languages) - {code for one in candidates for code in one.languages}:
        raise ModelNotFound(f"no model knows {', '.join(sorted(unknown))}; languages are codes such as en, de, ko")
    return choose(candidates, needs)
