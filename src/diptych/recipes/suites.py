"""Evaluation suites by name: `diptych compare … --suite quick`. What the data do not allow is left out with its reason.

`standard` decides between models in minutes on two cores; `quick` shows in a minute what there is; `full` has every
corruption at every severity, more pictures and few-shot probes.
"""

import difflib
from collections.abc import Callable

from diptych.evaluation.captioning import CaptioningConfig
from diptych.evaluation.compositional import CompositionalConfig
from diptych.evaluation.depth import DepthConfig
from diptych.evaluation.domains import DomainsConfig
from diptych.evaluation.duplicates import DuplicatesConfig
from diptych.evaluation.efficiency import EfficiencyConfig
from diptych.evaluation.fairness import BiasConfig, SkewConfig
from diptych.evaluation.grounding import GroundingConfig
from diptych.evaluation.matching import MatchingConfig
from diptych.evaluation.multilingual import MultilingualConfig
from diptych.evaluation.probes import FewShotConfig, LinearProbeConfig, NeighboursConfig
from diptych.evaluation.retrieval import RetrievalConfig
from diptych.evaluation.robustness import CorruptionsConfig, QueriesConfig
from diptych.evaluation.segmentation import SegmentationConfig
from diptych.evaluation.served import ServedConfig
from diptych.evaluation.tasks import Suite
from diptych.evaluation.zero_shot import ZeroShotConfig


def quick() -> Suite:
    """Retrieval, zero-shot, hard negatives, and what it costs."""
    return Suite(
        name="quick", served=ServedConfig(),
        retrieval=RetrievalConfig(), zero_shot=ZeroShotConfig(), compositional=CompositionalConfig(),
        efficiency=EfficiencyConfig(rounds=5, budget_s=20.0), draws=500)


def standard() -> Suite:
    """What decides between models."""
    return Suite(
        name="standard", retrieval=RetrievalConfig(), served=ServedConfig(), zero_shot=ZeroShotConfig(),
        compositional=CompositionalConfig(), zero_shot_languages=MultilingualConfig(), matching=MatchingConfig(),
        neighbours=NeighboursConfig(), linear_probe=LinearProbeConfig(), domains=DomainsConfig(), skew=SkewConfig(),
        bias=BiasConfig(),
        queries=QueriesConfig(), corruptions=CorruptionsConfig(), duplicates=DuplicatesConfig(),
        segmentation=SegmentationConfig(), depth=DepthConfig(), grounding=GroundingConfig(),
        captioning=CaptioningConfig(),
        efficiency=EfficiencyConfig(rounds=10, budget_s=60.0))


def full() -> Suite:
    """Everything, with more samples."""
    return Suite(
        name="full", retrieval=RetrievalConfig(), served=ServedConfig(), zero_shot=ZeroShotConfig(otherwise="clip80"),
        zero_shot_languages=MultilingualConfig(), compositional=CompositionalConfig(),
        matching=MatchingConfig(captions=4000), neighbours=NeighboursConfig(), linear_probe=LinearProbeConfig(),
        domains=DomainsConfig(), few_shot=FewShotConfig(), skew=SkewConfig(), bias=BiasConfig(),
        queries=QueriesConfig(queries=5000),
        corruptions=CorruptionsConfig(pictures=500, severities=(1, 2, 3, 4, 5)), duplicates=DuplicatesConfig(),
        segmentation=SegmentationConfig(), depth=DepthConfig(), grounding=GroundingConfig(),
        captioning=CaptioningConfig(pictures=5000),
        efficiency=EfficiencyConfig(), draws=2000)


SUITES: dict[str, Callable[[], Suite]] = {"quick": quick, "standard": standard, "full": full}


def named(name: str) -> Suite:
    """The suite of that name. ValueError names the nearest."""
    if name not in SUITES:
        near = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.0)
        raise ValueError(f"no suite {name!r}; the nearest is {near[0]!r} (there are: {', '.join(SUITES)})")
    return SUITES[name]()
