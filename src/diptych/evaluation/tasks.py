"""The tasks that a suite can hold: what each is called, which of the suite's settings it follows, what does it.

A task is a function of one model's vectors and of its settings to outcomes. It raises ValueError, in a sentence, for
data or a model that it cannot be done with.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from diptych.evaluation import (
    captioning,
    compositional,
    fairness,
    probes,
    retrieval,
    robustness,
    served,
    zero_shot,
)
from diptych.evaluation.captioning import CaptioningConfig
from diptych.evaluation.compositional import CompositionalConfig
from diptych.evaluation.depth import DepthConfig, depth
from diptych.evaluation.domains import DomainsConfig, domains
from diptych.evaluation.duplicates import DuplicatesConfig, duplicates
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.embedded import Embedded
from diptych.evaluation.fairness import BiasConfig, SkewConfig
from diptych.evaluation.grounding import GroundingConfig, grounding
from diptych.evaluation.matching import MatchingConfig, matching
from diptych.evaluation.multi_label import multi_label
from diptych.evaluation.multilingual import MultilingualConfig, zero_shot_languages
from diptych.evaluation.outcome import Outcome
from diptych.evaluation.probes import FewShotConfig, LinearProbeConfig, NeighboursConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import CorruptionsConfig, QueriesConfig
from diptych.evaluation.segmentation import SegmentationConfig, segmentation
from diptych.evaluation.served import ServedConfig
from diptych.evaluation.zero_shot import ZeroShotConfig

HEADLINES = (("text_to_image", "mean_hit@1"), ("text_to_image", "hit@1"), ("zero_shot", "acc@1"),
             ("multi_label", "mean_average_precision"), ("hard_negatives", "true_over_negative"),
             ("linear_probe", "acc@1"), ("corruptions", "cosine"), ("captioning", "cider"), ("segmentation", "miou"),
             ("grounding", "acc@iou0.5"), ("depth", "rmse"))
"""By which models are ranked: the first that all of them have, else the first that one has."""

DECIDING = frozenset({
    "mean_hit@1", "hit@1", "ndcg@10", "acc@1", "mean_per_class_recall", "true_over_negative", "group", "right",
    "mean_acc@1", "mean_average_precision", "auroc", "out_of_domain",
    "retention", "typo_retention", "paraphrase_retention", "ece", "max_skew@100", "representation_bias",
    "association_bias", "cider", "miou", "rmse", "acc@iou0.5"})
"""The figures that are tested between models. Each one more makes all of them harder to tell apart."""

Run = Callable[[Embedded, Any], Sequence[Outcome]]


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
    served: ServedConfig | None = None
    skew: SkewConfig | None = None
    bias: BiasConfig | None = None
    duplicates: DuplicatesConfig | None = None
    captioning: CaptioningConfig | None = None
    segmentation: SegmentationConfig | None = None
    depth: DepthConfig | None = None
    grounding: GroundingConfig | None = None
    groups: tuple[str, ...] = ()
    efficiency: EfficiencyConfig | None = None
    draws: int = 1000
    seed: int = 0


def tasks_of(suite: Suite) -> Iterator[tuple[str, Callable[[Embedded], Sequence[Outcome]]]]:
    """The suite's tasks, by name, in the order of what they take."""
    for name, setting, run in _TASKS:
        if (config := getattr(suite, setting)) is not None:
            yield name, lambda embedded, run=run, config=config: run(embedded, config)


def _one(task: Callable[[Embedded, Any], Outcome]) -> Run:
    return lambda embedded, config: [task(embedded, config)]


def _of_test(task: Callable[[Embedded, Any], Outcome]) -> Run:
    """Of the data's test part, where it has one: what a model may have learned from is no test of it."""
    return lambda embedded, config: [task(embedded.tested or embedded, config)]


def _where_tagged(embedded: Embedded, config: ZeroShotConfig) -> Sequence[Outcome]:
    """Nothing, where no picture has several labels."""
    return [multi_label(embedded, config)] if embedded.data.tags else []


def _of_scenes(task: Callable[[Embedded, Any], Outcome]) -> Run:
    """Of the data's scenes, where it has such."""
    return lambda embedded, config: [task(embedded.scenes or embedded, config)]


_TASKS: tuple[tuple[str, str, Run], ...] = (
    ("retrieval", "retrieval", lambda embedded, config: retrieval.retrieval(embedded.tested or embedded, config)),
    ("served", "served", served.served),
    ("zero_shot", "zero_shot", _one(zero_shot.zero_shot)),
    ("zero_shot_descriptions", "zero_shot", zero_shot.described),
    ("multi_label", "zero_shot", _where_tagged),
    ("zero_shot_languages", "zero_shot_languages", _one(zero_shot_languages)),
    ("hard_negatives", "compositional", _of_test(compositional.hard_negatives)),
    ("winoground", "compositional", _of_test(compositional.winoground)),
    ("matching", "matching", _of_test(matching)),
    ("nearest_neighbours", "neighbours", _one(probes.nearest_neighbours)),
    ("linear_probe", "linear_probe", _one(probes.linear_probe)),
    ("few_shot", "few_shot", _one(probes.few_shot)),
    ("domains", "domains", _one(domains)),
    ("retrieval_skew", "skew", _of_test(fairness.retrieval_skew)),
    ("representation_bias", "bias", _of_test(fairness.representation_bias)),
    ("association_bias", "bias", _of_test(fairness.association_bias)),
    ("queries", "queries", _of_test(robustness.queries)),
    ("corruptions", "corruptions", _of_test(robustness.corruptions)),
    ("duplicates", "duplicates", _one(duplicates)),
    ("captioning", "captioning", _one(captioning.captioning)),
    ("segmentation", "segmentation", _of_scenes(segmentation)),
    ("depth", "depth", _of_scenes(depth)),
    ("grounding", "grounding", _of_scenes(grounding)),
)
