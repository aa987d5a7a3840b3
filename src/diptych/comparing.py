"""Comparing models: puts data, models and a suite together, as `workbench` does for searching."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diptych.workbench import is_bundled, load_model

if TYPE_CHECKING:
    from diptych.evaluation.dataset import Dataset
    from diptych.evaluation.selection import Choice, Needs
    from diptych.evaluation.sets import Columns
    from diptych.evaluation.suite import Entrant, Evaluated, Suite
    from diptych.models.checkpoints.folders import Found
    from diptych.models.embedder import TorchEmbedder


def compare(
    models: Sequence[str], on: str | Path, *, suite: "Suite | None" = None, languages: Sequence[str] | None = None,
    columns: "Columns | None" = None, limit: int | None = None, descriptions: str | Path | None = None,
) -> "Evaluated":
    """Evaluate models side by side on a folder, a table, shards, a public set by its name ("imagenet1k"), or the
    bundled corpus ("pictograms").

    `suite` is `recipes.suites.standard()` by default; `limit` draws so many pictures; `descriptions` is a JSON file of
    what classes look like. ValueError and SourceError say what is wrong with the data, ModelNotFound which model is not
    here.
    """
    from diptych.evaluation.classes import described
    from diptych.evaluation.suite import evaluate
    from diptych.models.choice import machine
    from diptych.recipes.suites import standard

    suite = suite or standard()
    for name in models:  # a wrong name is told before anything is read
        _find(name)
    data = _dataset(on, columns, languages, limit, suite.seed)
    if descriptions is not None:
        data = described(data, descriptions)
    if languages and suite.retrieval is not None:
        suite = replace(suite, retrieval=replace(suite.retrieval, languages=tuple(languages)))
    return evaluate(suite, _entrants(models), data, machine("cpu"))


def _dataset(
    on: str | Path, columns: "Columns | None", languages: Sequence[str] | None, limit: int | None, seed: int
) -> "Dataset":
    from diptych.data import pictograms
    from diptych.data.draws import generator
    from diptych.evaluation.corpus import open_pictograms
    from diptych.evaluation.dataset import subset
    from diptych.evaluation.public.opening import open_named
    from diptych.evaluation.sets import open_dataset

    bundled = is_bundled(on) or Path(on).resolve() == pictograms.folder().resolve()
    data = open_pictograms(languages) if bundled else open_named(str(on), columns) or open_dataset(on, columns)
    if limit is not None and limit < len(data):
        if limit < 2:
            raise ValueError(f"limit is at least 2 pictures, got {limit}")
        drawn = generator(seed, "limit").permutation(len(data))[:limit]
        # a drawn picture is told from all classes, as it is without a limit
        data = replace(subset(data, sorted(drawn.tolist())), classes=data.classes,
                       sha256=f"{data.sha256}-{limit}-{seed}")
    return data


def _entrants(models: Sequence[str]) -> "list[Entrant]":
    """Each with a name as short as tells it apart: a run folder's model is called by the run."""
    import functools

    from diptych.evaluation.embedded import Looks
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
            image_operations=image, text_operations=text, looks=Looks(describe=describe)))
    return found


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
    measured = measured_in([from_json(path.read_text(encoding="utf-8")) for path in files])
    own = [_find(name).entry for name in folders.local_models() if catalog.find(name) is None]
    candidates = [Candidate(name=entry.name, languages=entry.languages, weights_bytes=4 * entry.parameters,
                            published=entry.score(catalog.IMAGENET), measured=measured.get(entry.name))
                  for entry in (*catalog.CATALOGUE, *own)]
    if unknown := set(needs.languages) - {code for one in candidates for code in one.languages}:
        raise ModelNotFound(f"no model knows {', '.join(sorted(unknown))}; languages are codes such as en, de, ko")
    return choose(candidates, needs)
