"""Run a suite: embed, do every task that the data allow, put intervals and tests to the figures, measure the cost.

Embedding is what takes time, and is kept (`vectors`): a suite that was killed goes on where it was. What tasks cannot
do with the data is left out with its reason; what cannot be read is skipped and listed.
"""

import contextlib
import datetime
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice

import numpy as np
from jaxtyping import Float, Int

from diptych.core import telemetry
from diptych.core.errors import PictureError
from diptych.core.types import Embedder, Picture
from diptych.evaluation import captioning, efficiency, fairness, probes, retrieval, zero_shot
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.embedded import Embedded, Looks, part
from diptych.evaluation.fairness import WorstGroupConfig
from diptych.evaluation.intervals import figures_of
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.report.verdict import verdict
from diptych.evaluation.result import Comparison, Cost, Data, Model, Provenance, Template
from diptych.evaluation.significance import differences_of
from diptych.evaluation.split import COLUMN, column_of, tested, tested_part
from diptych.evaluation.tasks import DECIDING, HEADLINES, Suite, tasks_of
from diptych.evaluation.vectors import Pictures, embed_dataset, embedded, without
from diptych.evaluation.views import views

GROUPED = ("zero_shot", "image_to_text")
"""Tasks whose samples are pictures and can be told by groups of them."""

PACKAGES = ("diptych", "torch", "numpy", "pillow", "tokenizers", "scikit-learn", "sacrebleu", "nltk", "openvino",
            "onnxruntime")
_SAMPLE = 64
"""Pictures and texts that speed is measured with."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrant:
    """One model that takes part. `open_model` opens it again, in another process, to see what memory that takes;
    `runtime` says what computes ("torch fp32"); operations are of one picture and one text; `looks` is what it gives
    beside vectors. `stored` are its vectors of all pictures, where a collection has them."""

    embedder: Embedder
    open_model: Callable[[], Embedder]
    runtime: str
    weights_bytes: int
    image_operations: float | None = None
    text_operations: float | None = None
    looks: Looks = field(default_factory=Looks)
    stored: Float[np.ndarray, "pictures dim"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """The comparison, and every outcome by task and model, of which the table of predictions is made."""

    comparison: Comparison
    outcomes: Mapping[str, Mapping[str, Outcome]]


def evaluate(suite: Suite, entrants: Sequence[Entrant], whole: Dataset, hardware: str = "") -> Evaluated:
    """Everything; `hardware` is what the machine is called. ValueError for two models of one name, and when the data
    allow no task at all."""
    names = [entrant.embedder.spec.name for entrant in entrants]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"models are told apart by their names, got {', '.join(names) or 'none'}")
    check(suite, whole, [entrant.looks for entrant in entrants])
    if COLUMN in whole.columns and tested_part(whole) is None:
        telemetry.notice(f"no picture of {whole.name} is of the part 'test' or 'val' (parts: "
                         f"{', '.join(map(repr, sorted(set(whole.columns[COLUMN]))[:5]))}): all are tested")
    phase = telemetry.Phases()
    with phase("embedding"):
        made = [Pictures(vectors=e.stored, broken={}) if e.stored is not None else
                embed_dataset(e.embedder, whole, e.runtime) for e in entrants]
        data, kept = without(whole, {number: reason for one in made for number, reason in one.broken.items()})
        given = {name: _given(suite, entrant, data, one.vectors[kept])
                 for name, entrant, one in zip(names, entrants, made, strict=True)}
    templates: list[Template] = []
    outcomes, left_out = _outcomes(suite, given, phase)
    for task, column in [(task, column) for task in GROUPED for column in suite.groups if task in outcomes]:
        try:
            config = WorstGroupConfig(column=column)
            for name, outcome in outcomes[task].items():
                grouped = fairness.worst_group(outcome, config)
                outcomes.setdefault(grouped.task, {})[name] = grouped
        except ValueError as error:
            left_out[f"{task} by {column}"] = str(error)
    if not outcomes:
        raise ValueError(_nothing(suite, data, left_out))
    if suite.zero_shot is not None and "zero_shot" in outcomes:
        with phase("templates"):
            templates = [t for one in given.values() for t in zero_shot.by_template(one, suite.zero_shot)]
    with phase("statistics"):
        figures = [figure for task in outcomes.values() for name, outcome in task.items()
                   for figure in figures_of(outcome, name, slices=True, draws=suite.draws, seed=suite.seed)]
        shared = [task for task in outcomes.values() if len(task) > 1]
        names_there = DECIDING & {name for task in shared for outcome in task.values() for name in outcome.names}
        differences = differences_of(shared, names=names_there, draws=suite.draws,
                                     seed=suite.seed) if names_there else []
    with phase("cost"):
        costs = _costs(suite.efficiency, entrants, data, given, suite.seed) if suite.efficiency else ()
    with phase("views"):
        seen = views(data, outcomes.get("text_to_image", {}), outcomes.get("zero_shot", {}),
                     outcomes.get("captioning", {}), suite.seed)
    there = Counter((figure.task, figure.name) for figure in figures if not figure.slice)
    known = [*([data.headline] if data.headline else ()), *HEADLINES, *sorted(there)]
    headline = next(one for least in (len(entrants), 1) for one in known if there[one] >= least)
    sentences = verdict(headline, figures, differences, costs)
    return Evaluated(outcomes=outcomes, comparison=Comparison(
        provenance=_provenance(suite, phase, left_out, hardware), headline=headline, sentences=sentences,
        data=Data(name=data.name, sha256=data.sha256, revision=data.revision, counts=data.counts,
                  languages=data.languages, skipped=data.skipped),
        models=tuple(_model(entrant) for entrant in entrants), figures=tuple(figures), differences=tuple(differences),
        costs=tuple(costs), views=replace(seen, templates=tuple(templates))))


def scores(suite: Suite, embedder: Embedder, data: Dataset, looks: Looks | None = None) -> dict[str, float]:
    """Every figure of all the data by its name, such as "text_to_image/hit@1", of a model that is still learning: no
    intervals, no costs, and no vector is kept. What cannot be done is left out."""
    made = embed_dataset(embedder, data, keep=False)
    data, kept = without(data, made.broken)
    given = {embedder.spec.name: with_tested(embedded(embedder, data, made.vectors[kept], looks=looks, keep=False))}
    outcomes, _ = _outcomes(suite, given, telemetry.Phases())
    found = {f"{outcome.task}/{name}": outcome.figure(name) for by_model in outcomes.values()
             for outcome in by_model.values() for name in outcome.names}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def check(suite: Suite, data: Dataset, looks: Sequence[Looks] = ()) -> None:
    """What would end all the work is told before it: ValueError for columns and languages that are not there,
    DiptychError for a package that is not."""
    if suite.linear_probe or suite.few_shot or suite.domains or suite.segmentation:
        probes.require()
    if suite.captioning and any(look.describe for look in looks):
        captioning.require()
    for group in suite.groups:
        column_of(data, group)
    if suite.domains and suite.domains.column:
        column_of(data, suite.domains.column)
    if suite.retrieval and suite.retrieval.languages and data.captions:
        retrieval.check_languages(data, suite.retrieval.languages)


def _nothing(suite: Suite, data: Dataset, left_out: Mapping[str, str]) -> str:
    """Why no task of the suite could be done, in one sentence where one reason is behind them all."""
    if not data.captions and len(data.classes) < 2:
        have = f"only the class {data.classes[0]!r}" if data.classes else "no classes"
        return (f"{data.name} allows no task of the suite {suite.name!r}, because it has no captions and {have}: give "
                "a column 'caption' or 'label' with values, name them with --caption and --label, or put the pictures "
                "into folders, one for each of two classes or more")
    return (f"{data.name} allows no task of the suite {suite.name!r}: "
            f"{'; '.join(f'{task}: {why}' for task, why in left_out.items())}")


def _outcomes(
    suite: Suite, given: Mapping[str, Embedded], phase: telemetry.Phases
) -> tuple[dict[str, dict[str, Outcome]], dict[str, str]]:
    """What every task found, by task and model, and what is left out, with the reason."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    left_out: dict[str, str] = {}
    for task, run in tasks_of(suite):
        why: dict[str, str] = {}
        with phase(task):
            for name, one in given.items():
                try:
                    for outcome in run(one):
                        outcomes.setdefault(outcome.task, {})[name] = outcome
                except (ValueError, PictureError) as error:  # a live collection's picture may just have gone
                    why[name] = str(error)
        left_out |= _told(task, why, len(given))
    return outcomes, left_out


def _told(task: str, why: Mapping[str, str], models: int) -> dict[str, str]:
    """What is left out: the task, where the data are why, which every model says in the same words; else the task for
    those models that cannot do it."""
    if len(why) == models and len(set(why.values())) == 1:
        return {task: next(iter(why.values()))}
    return {f"{task} ({model})": reason for model, reason in why.items()}


def with_tested(one: Embedded) -> Embedded:
    """Beside it, what is asked of the test part alone. A gold set asks the whole collection."""
    numbers = tested(one.data)
    return replace(one, tested=part(one, numbers)) if len(numbers) < len(one.data) and not one.data.distractors else one


def _given(suite: Suite, entrant: Entrant, data: Dataset, vectors: Float[np.ndarray, "pictures dim"]) -> Embedded:
    """What tasks are given of one model: its vectors of the data and, where a task looks at them, of the scenes."""
    found, scenes = with_tested(embedded(entrant.embedder, data, vectors, entrant.runtime, entrant.looks)), data.scenes
    if scenes is None or not (suite.segmentation or suite.depth or suite.grounding):
        return found
    return replace(found, scenes=_given(suite, entrant, scenes, embed_dataset(
        entrant.embedder, scenes, entrant.runtime).vectors))


def _costs(
    config: EfficiencyConfig, entrants: Sequence[Entrant], data: Dataset, given: Mapping[str, Embedded], seed: int
) -> list[Cost]:
    """Of every model, measured with pictures and texts of the data."""
    rng = np.random.default_rng(seed)
    first = next(iter(given.values()))
    pictures = list(islice(_decoded(first, rng.permutation(len(data))), _SAMPLE))
    said = [caption.text for caption in data.captions] or list(data.classes) or ["a picture"]
    texts = [said[int(i)] for i in rng.permutation(len(said))[:_SAMPLE]]
    by_name = {entrant.embedder.spec.name: entrant for entrant in entrants}
    rates = efficiency.rates({name: e.embedder for name, e in by_name.items()}, pictures, texts, config, seed)
    found = []
    for name, entrant in by_name.items():
        batch = max(config.batches)
        needed = efficiency.footprint(entrant.open_model, pictures[:batch], texts[:batch])
        found.append(Cost(
            model=name, load_s=needed.load_s, peak_memory=needed.peak_memory, weights_bytes=entrant.weights_bytes,
            vector_bytes=4 * entrant.embedder.spec.dim, image_gflops=_giga(entrant.image_operations),
            text_gflops=_giga(entrant.text_operations), rates=rates[name]))
    return found


def _decoded(one: Embedded, numbers: Int[np.ndarray, " pictures"]) -> Iterator[Picture]:
    """Those that can be: a collection's vectors are there without a look at the pictures."""
    for number in numbers:
        with contextlib.suppress(PictureError):
            yield one.decode(int(number))


def _giga(operations: float | None) -> float | None:
    return None if operations is None else operations / 1e9


def _model(entrant: Entrant) -> Model:
    spec = entrant.embedder.spec
    runtime, _, precision = entrant.runtime.rpartition(" ")
    return Model(name=spec.name, fingerprint=spec.fingerprint, dim=spec.dim, image_size=spec.image_size,
                 languages=spec.languages, score_kind=spec.score_kind, precision=precision, runtime=runtime,
                 general=spec.general)


def _provenance(suite: Suite, phases: telemetry.Phases, left_out: Mapping[str, str], hardware: str) -> Provenance:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Provenance(created=now, seed=suite.seed, suite=suite.name, versions=versions, hardware=hardware,
                      left_out=left_out,
                      seconds={name: round(seconds, 2) for name, seconds in phases.seconds.items() if seconds >= 0.01})
