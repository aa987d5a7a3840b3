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

import numpy as np

from diptych.core import telemetry
from diptych.core.types import Embedder
from diptych.evaluation import captioning, compositional, efficiency, fairness, probes, retrieval, robustness, zero_shot
from diptych.evaluation.captioning import CaptioningConfig
from diptych.evaluation.compositional import CompositionalConfig
from diptych.evaluation.dataset import Dataset
from diptych.evaluation.domains import DomainsConfig, domains
from diptych.evaluation.duplicates import DuplicatesConfig, duplicates
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.embedded import Embedded, Looks
from diptych.evaluation.fairness import BiasConfig, SkewConfig, WorstGroupConfig
from diptych.evaluation.intervals import figures_of
from diptych.evaluation.matching import MatchingConfig, matching
from diptych.evaluation.multi_label import multi_label
from diptych.evaluation.multilingual import MultilingualConfig, zero_shot_languages
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.probes import FewShotConfig, LinearProbeConfig, NeighboursConfig
from diptych.evaluation.report.verdict import verdict
from diptych.evaluation.result import Comparison, Cost, Data, Model, Provenance, Template
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import CorruptionsConfig, QueriesConfig
from diptych.evaluation.significance import differences_of
from diptych.evaluation.split import column_of
from diptych.evaluation.vectors import embed_dataset, embedded, without
from diptych.evaluation.views import views
from diptych.evaluation.zero_shot import ZeroShotConfig

HEADLINES = (("text_to_image", "mean_hit@1"), ("text_to_image", "hit@1"), ("zero_shot", "acc@1"),
             ("multi_label", "mean_average_precision"), ("hard_negatives", "true_over_negative"),
             ("linear_probe", "acc@1"), ("corruptions", "cosine"),
             ("captioning", "cider"))
"""By which models are ranked: the first that all of them have, else the first that one has."""

DECIDING = frozenset({
    "mean_hit@1", "hit@1", "ndcg@10", "acc@1", "mean_per_class_recall", "true_over_negative", "group", "right",
    "mean_acc@1", "mean_average_precision", "auroc", "out_of_domain",
    "retention", "typo_retention", "paraphrase_retention", "ece", "max_skew@100", "representation_bias",
    "association_bias", "cider"})
"""The figures that are tested between models. Each one more makes all of them harder to tell apart."""

GROUPED = ("zero_shot", "image_to_text")
"""Tasks whose samples are pictures and can be told by groups of them."""

PACKAGES = ("diptych", "torch", "numpy", "pillow", "tokenizers", "scikit-learn", "sacrebleu", "openvino",
            "onnxruntime")
_SAMPLE = 64
"""Pictures and texts that speed is measured with."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Which tasks are done, and how; None: not this one. `groups` are columns of which the worst value and the gap
    between values are given, in zero-shot and retrieval. `draws` are those of the bootstrap."""

    name: str
    zero_shot: ZeroShotConfig | None = None
    zero_shot_languages: MultilingualConfig | None = None
    retrieval: RetrievalConfig | None = None
    compositional: CompositionalConfig | None = None
    matching: MatchingConfig | None = None
    linear_probe: LinearProbeConfig | None = None
    few_shot: FewShotConfig | None = None
    neighbours: NeighboursConfig | None = None
    domains: DomainsConfig | None = None
    corruptions: CorruptionsConfig | None = None
    queries: QueriesConfig | None = None
    skew: SkewConfig | None = None
    bias: BiasConfig | None = None
    duplicates: DuplicatesConfig | None = None
    captioning: CaptioningConfig | None = None
    groups: tuple[str, ...] = ()
    efficiency: EfficiencyConfig | None = None
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Entrant:
    """One model that takes part. `open_model` opens it again, in another process, to see what memory that takes;
    `runtime` says what computes ("torch fp32"); operations are of one picture and one text; `looks` is what it gives
    beside vectors."""

    embedder: Embedder
    open_model: Callable[[], Embedder]
    runtime: str
    weights_bytes: int
    image_operations: float | None = None
    text_operations: float | None = None
    looks: Looks = field(default_factory=Looks)


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
    _check(suite, whole, entrants)
    phase = telemetry.Phases()
    with phase("embedding"):
        made = [embed_dataset(entrant.embedder, whole, entrant.runtime) for entrant in entrants]
        data, kept = without(whole, {number: reason for one in made for number, reason in one.broken.items()})
        given = {name: embedded(entrant.embedder, data, one.vectors[kept], entrant.runtime, entrant.looks)
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
        data=Data(name=data.name, sha256=data.sha256, revision=data.revision, counts=data.counts, skipped=data.skipped),
        models=tuple(_model(entrant) for entrant in entrants), figures=tuple(figures), differences=tuple(differences),
        costs=tuple(costs), views=replace(seen, templates=tuple(templates))))


def _check(suite: Suite, data: Dataset, entrants: Sequence[Entrant]) -> None:
    """What would end all the work is told before it."""
    if suite.linear_probe or suite.few_shot or suite.domains:
        probes.require()
    if suite.captioning and any(entrant.looks.describe for entrant in entrants):
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
                "into a folder for each class")
    return (f"{data.name} allows no task of the suite {suite.name!r}: "
            f"{'; '.join(f'{task}: {why}' for task, why in left_out.items())}")


def _outcomes(
    suite: Suite, given: Mapping[str, Embedded], phase: telemetry.Phases
) -> tuple[dict[str, dict[str, Outcome]], dict[str, str]]:
    """What every task found, by task and model, and what is left out, with the reason."""
    outcomes: dict[str, dict[str, Outcome]] = {}
    left_out: dict[str, str] = {}
    for task, run in _tasks(suite):
        why: dict[str, str] = {}
        with phase(task):
            for name, one in given.items():
                try:
                    for outcome in run(one):
                        outcomes.setdefault(outcome.task, {})[name] = outcome
                except ValueError as error:
                    why[name] = str(error)
        told = _told(task, why, len(given))
        left_out |= told
        for what, reason in told.items():
            telemetry.notice(f"{what} is left out: {reason}")
    return outcomes, left_out


def _told(task: str, why: Mapping[str, str], models: int) -> dict[str, str]:
    """What is left out: the task, where the data are why, which every model says in the same words; else the task for
    those models that cannot do it."""
    if len(why) == models and len(set(why.values())) == 1:
        return {task: next(iter(why.values()))}
    return {f"{task} ({model})": reason for model, reason in why.items()}


def _tasks(suite: Suite) -> Iterator[tuple[str, Callable[[Embedded], Sequence[Outcome]]]]:
    """The suite's tasks in the order of what they take."""
    yield from _text_tasks(suite)
    s = suite
    if (d := s.neighbours) is not None:
        yield "nearest_neighbours", lambda one: [probes.nearest_neighbours(one, d)]
    if (e := s.linear_probe) is not None:
        yield "linear_probe", lambda one: [probes.linear_probe(one, e)]
    if (f := s.few_shot) is not None:
        yield "few_shot", lambda one: [probes.few_shot(one, f)]
    if (o := s.domains) is not None:
        yield "domains", lambda one: [domains(one, o)]
    if (g := s.skew) is not None:
        yield "retrieval_skew", lambda one: [fairness.retrieval_skew(one, g)]
    if (h := s.bias) is not None:
        yield "representation_bias", lambda one: [fairness.representation_bias(one, h)]
        yield "association_bias", lambda one: [fairness.association_bias(one, h)]
    if (i := s.queries) is not None:
        yield "queries", lambda one: [robustness.queries(one, i)]
    if (j := s.corruptions) is not None:
        yield "corruptions", lambda one: [robustness.corruptions(one, j)]
    if (k := s.duplicates) is not None:
        yield "duplicates", lambda one: [duplicates(one, k)]
    if (p := s.captioning) is not None:
        yield "captioning", lambda one: [captioning.captioning(one, p)]


def _text_tasks(suite: Suite) -> Iterator[tuple[str, Callable[[Embedded], Sequence[Outcome]]]]:
    """Those that ask which text a picture fits."""
    s = suite
    if (a := s.retrieval) is not None:
        yield "retrieval", lambda one: retrieval.retrieval(one, a)
    if (b := s.zero_shot) is not None:
        yield "zero_shot", lambda one: [zero_shot.zero_shot(one, b)]
        yield "zero_shot_descriptions", lambda one: zero_shot.described(one, b)
        yield "multi_label", lambda one: [multi_label(one, b)] if one.data.tags else []
    if (m := s.zero_shot_languages) is not None:
        yield "zero_shot_languages", lambda one: [zero_shot_languages(one, m)]
    if (c := s.compositional) is not None:
        yield "hard_negatives", lambda one: [compositional.hard_negatives(one, c)]
        yield "winoground", lambda one: [compositional.winoground(one, c)]
    if (n := s.matching) is not None:
        yield "matching", lambda one: [matching(one, n)]


def _costs(
    config: EfficiencyConfig, entrants: Sequence[Entrant], data: Dataset, given: Mapping[str, Embedded], seed: int
) -> list[Cost]:
    """Of every model, measured with pictures and texts of the data."""
    rng = np.random.default_rng(seed)
    first = next(iter(given.values()))
    pictures = [first.decode(int(i)) for i in rng.permutation(len(data))[:_SAMPLE]]
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
                      seconds={name: round(seconds, 2) for name, seconds in phases.seconds.items()}, left_out=left_out)
