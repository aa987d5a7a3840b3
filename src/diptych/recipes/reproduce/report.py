"""An experiment's result as Markdown: the claim, what was done, every arm's figures, the rule and the verdict. No
figure in docs/reproduce.md is typed by hand."""

from statistics import mean, stdev

from diptych.recipes.reproduce.experiment import Experiment
from diptych.recipes.reproduce.result import Result
from diptych.recipes.reproduce.scale import FULL


def section(experiment: Experiment, result: Result, picture: str) -> str:
    """The section of that experiment; `picture` is the plot's address as the page sees it."""
    verdict, seeds = result.verdict, result.seeds
    judged = f"{experiment.rule.says}." + (
        f" A loss of up to {verdict.margin:.1f} points is none." if verdict.margin else "")
    differences = ", ".join(signed(d) for d in verdict.differences)
    interval = f"{signed(verdict.low)} … {signed(verdict.high)}"
    minutes = sum(cell.seconds for cell in result.cells) / 60
    scale = result.scale
    here = experiment.setting if scale == FULL else (
        f"A sliver, which shows that it runs, and nothing about the claim: one idea in {scale.every}, "
        f"{scale.share:.0%} of the pictures that an arm sees, {scale.image_size} pixels. Otherwise: "
        f"{experiment.setting}")
    head = " | ".join(experiment.shown)
    rows = "\n".join(_row(experiment, result, series, x) for series, x in
                     dict.fromkeys((arm.series, arm.x) for arm in experiment.arms))
    return f"""## {experiment.name}

*{experiment.title[0].upper()}{experiment.title[1:]}.*

**Claim.** {experiment.claim} ({experiment.source})

**Here.** {here}

| | {experiment.x_title} | {head} |
|---|---|{"---|" * len(experiment.shown)}
{rows}

![{experiment.figure_title} by {experiment.x_title}]({picture})

**Rule.** {judged}

**Verdict: {verdict.outcome}.** {signed(verdict.mean)} points, 95% interval {interval}, from
{len(seeds)} seeds ({differences}). {len(result.cells)} runs, {minutes:.0f} min on one thread that others
slowed down.
"""


def signed(value: float) -> str:
    """With a sign and one decimal, and zero never negative."""
    return f"{round(value, 1) + 0.0:+.1f}"


def _row(experiment: Experiment, result: Result, series: str, x: str) -> str:
    cells = [c.figures for c in result.cells if (c.series, c.x) == (series, x)]
    figures = " | ".join(_spread([figures[name] for figures in cells]) for name in experiment.shown)
    return f"| {series} | {x} | {figures} |"


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"
