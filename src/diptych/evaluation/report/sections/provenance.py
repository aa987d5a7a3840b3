"""Where every number comes from: models, data, machine, versions, time, and what was left out."""

from diptych.evaluation.report import words
from diptych.evaluation.report.looks import badge, looks
from diptych.evaluation.report.markup import Html, content, facts, fold, h, table
from diptych.evaluation.result import Comparison

LISTED = 200
"""Ids of skipped records that are listed for one reason; the rest is in comparison.json."""


def section(comparison: Comparison) -> Html:
    """Always there."""
    return content(_run(comparison), _models(comparison), _data(comparison), _skipped(comparison),
                   _left_out(comparison), _time(comparison))


def _run(comparison: Comparison) -> Html:
    run = comparison.provenance
    known = [("Made", run.created), ("Suite", run.suite), ("Seed", run.seed), ("Hardware", run.hardware),
             ("Schema", comparison.schema), *run.versions.items()]
    return content(h("h3", "The run"), facts(known, "facts"))


def _models(comparison: Comparison) -> Html:
    models = {model.name: model for model in comparison.models}
    rows: list[list[object]] = []
    for name, look in looks(comparison).items():
        model = models[name]
        languages = ", ".join(model.languages) if len(model.languages) <= 8 else f"{len(model.languages)} languages"
        rows.append([badge(look), h("td", h("code", model.fingerprint), class_="hash"), languages, model.score_kind,
                     f"{model.runtime}, {model.precision}", "general" if model.general else "narrow", model.dim,
                     f"{model.image_size} px"])
    left = ["Model", "Fingerprint", "Languages", "Score", "Runs in", "Domain"]
    caption = "A fingerprint is over weights, configuration, preprocessing and tokenizer"
    return content(h("h3", "The models"), table(caption, left, ["Dimensions", "Picture"], rows))


def _data(comparison: Comparison) -> Html:
    data = comparison.data
    counts = ((words.title(name), words.count(count)) for name, count in data.counts.items())
    known = [("Name", data.name), ("SHA-256", h("code", data.sha256)), ("Revision", data.revision or words.NONE)]
    return content(h("h3", "The data"), facts([*known, *counts], "facts"))


def _skipped(comparison: Comparison) -> Html | None:
    reasons: dict[str, list[str]] = {}
    for id_, reason in comparison.data.skipped:
        reasons.setdefault(reason, []).append(id_)
    lists: list[Html] = []
    for reason, ids in sorted(reasons.items(), key=lambda item: -len(item[1])):
        more = len(ids) - LISTED
        listed = h("ul", (h("li", h("code", id_)) for id_ in ids[:LISTED]), class_="ids")
        rest = h("p", f"and {words.count(more)} more in comparison.json") if more > 0 else None
        lists.append(fold(f"{words.title(reason)}: {words.count(len(ids))}", listed, rest))
    return content(h("h3", "What could not be used", id="skipped"), lists) if lists else None


def _left_out(comparison: Comparison) -> Html | None:
    reasons = [(words.title(task), why) for task, why in comparison.provenance.left_out.items()]
    if not reasons:
        return None
    return content(h("h3", "What could not be run", id="left-out"), facts(reasons, "facts"))


def _time(comparison: Comparison) -> Html | None:
    seconds = comparison.provenance.seconds
    whole = sum(seconds.values())
    if whole <= 0:
        return None
    rows = [[words.title(phase), words.duration(took), f"{100 * took / whole:.0f}%"] for phase, took in seconds.items()]
    return content(h("h3", "Where the time went"),
                   table(f"{words.duration(whole)} together", ["Phase"], ["Time", "Share"], rows))
