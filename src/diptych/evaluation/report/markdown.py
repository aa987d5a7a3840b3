"""The report as Markdown: the verdict and the tables, to paste where people talk. Pictures are on the page."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from diptych.evaluation.report import words
from diptych.evaluation.report.ranking import Key, against, badness, by_key, fastest, main_keys, order, ranked, smallest
from diptych.evaluation.result import Comparison, Cost, Difference, Figure

RUNS = 20
"""So many of the newest points of a history."""
WORST = 10
"""So many parts of the data are listed; a comparison in 36 languages would be 3,000 lines."""
MARKS = {"better": " ▲", "worse": " ▼", "not distinguishable": " ≈"}


def markdown(comparison: Comparison) -> str:
    """GitHub's Markdown. Names and reasons come from data and are written so that they format nothing."""
    names = words.listing(text(model.name) for model in comparison.models)
    parts = [f"# {names} on {text(comparison.data.name)}", " ".join(map(text, comparison.sentences)),
             *_standing(comparison), *_main(comparison), *_every(comparison), *_slices(comparison),
             *_differences(comparison), *_history(comparison), *_prompts(comparison), *_costs(comparison),
             *_provenance(comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def text(value: object) -> str:
    """A value in a line or a cell: characters that mean something to Markdown or HTML do not."""
    said = " ".join(str(value).split())
    for character in "\\`*_[]|#~":
        said = said.replace(character, f"\\{character}")
    return said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The first column stands left, the others right."""
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *([*map(str, row)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _standing(comparison: Comparison) -> list[str]:
    task, name = comparison.headline
    figures = {figure.model: figure for figure in ranked(comparison.headline, comparison.figures)}
    best, costs = order(comparison)[0], {cost.model: cost for cost in comparison.costs}
    differences = against(best, comparison.differences)
    rows = []
    for model in order(comparison):
        figure, difference = figures.get(model), differences.get((model, (task, name, "")))
        said = "best" if model == best and figure else words.verdict(difference) if difference else "not tested"
        rows.append([text(model), _marked(figure, None), said, *_taken(costs.get(model))])
    columns = ["Model", text(words.spoken(name)), "Against the best", "Time a picture", "Peak memory"]
    return ["## Where they stand", _table(columns, rows)]


def _taken(cost: Cost | None) -> list[str]:
    rate = smallest(cost) if cost else None
    of = f" for {rate.batch} pictures" if rate and rate.batch > 1 else ""
    return [words.duration(rate.p50_s) + of if rate else words.NONE,
            words.size(cost.peak_memory) if cost else words.NONE]


def _main(comparison: Comparison) -> list[str]:
    models, found = order(comparison), by_key(comparison.figures)
    differences = against(models[0], comparison.differences)
    rows = [[f"{_name(key)}", *(_marked(found.get(key, {}).get(model), differences.get((model, key)))
                                for model in models)] for key in main_keys(comparison.headline, comparison.figures)]
    note = f"▲ better, ▼ worse, ≈ not distinguishable from {text(models[0])} (paired test, Holm’s correction, 5%)."
    return ["## Main figures", _table(["Figure", *map(text, models)], rows), note if len(models) > 1 else ""]


def _marked(figure: Figure | None, difference: Difference | None) -> str:
    return (words.with_interval(figure) if figure else words.NONE) + (MARKS[difference.verdict] if difference else "")


def _name(key: Key) -> str:
    return text(f"{words.title(key[0])}, {words.spoken(key[1])}")


def _every(comparison: Comparison) -> list[str]:
    models = order(comparison)
    rows = [[_name(key), *(words.with_interval(own[model]) if model in own else words.NONE for model in models),
             _chance(next(iter(own.values()))), words.count(max(figure.count for figure in own.values()))]
            for key, own in by_key(comparison.figures).items() if not key[2]]
    return ["## All figures", _table(["Figure", *map(text, models), "Chance", "Samples"], rows)] if rows else []


def _chance(figure: Figure) -> str:
    return words.NONE if figure.chance is None else words.value(figure.chance, figure.name)


def _slices(comparison: Comparison) -> list[str]:
    """Each task's main figure, or what that is a mean of, in the parts where it is worst; every figure of a task whose
    main one has no parts."""
    models = order(comparison)
    parts: dict[tuple[str, str, str], list[tuple[str, dict[str, Figure]]]] = {}
    for (task, name, part), own in by_key(comparison.figures).items():
        if part:
            column, _, value = part.partition("=")
            parts.setdefault((task, column, name), []).append((value, own))
    main = {task: name.removeprefix("mean_") for task, name, _ in main_keys(comparison.headline, comparison.figures)}
    said = ["## Parts of the data, worst first"] if parts else []
    for (task, column, name), rows in parts.items():
        if name != main.get(task, name) and (task, column, main[task]) in parts:
            continue
        rows.sort(key=lambda row: -fmean(badness(figure) for figure in row[1].values()))
        said.append(f"**{_name((task, name, ''))} by {text(words.spoken(column))}**")
        said.append(_table([text(words.title(column)), *map(text, models)], (
            [text(value), *(words.with_interval(own[model]) if model in own else words.NONE for model in models)]
            for value, own in rows[:WORST])))
        if len(rows) > WORST:
            said.append(f"… and {len(rows) - WORST} where it is better.")
    if said:
        said.append("All parts of all figures are in comparison.json, and drawn in report.html.")
    return said


def _differences(comparison: Comparison) -> list[str]:
    if not comparison.differences:
        return []
    rows = [[_name((d.task, d.name, "")) + (f" ({text(d.slice)})" if d.slice else ""),
             f"{text(d.model)} − {text(d.other)}", words.change(d), words.probability(d.p),
             words.probability(d.p_holm), d.verdict, words.NONE if d.needed is None else words.count(d.needed),
             words.count(d.count)] for d in comparison.differences]
    return ["## Differences between models", _table(["Figure", "Models", "Difference", "p", "Holm’s p", "The first is",
                                                     "Samples needed", "Samples"], rows)]


def _history(comparison: Comparison) -> list[str]:
    """What has changed since the run before, and the main figures run by run."""
    history = comparison.history
    if history is None or not history.before:
        return []
    said = [f"## Since {text(history.before[:16].replace('T', ' '))}"]
    if history.differences:
        said.append(_table(["Figure", "Model", "Change", "Holm’s p", "It is", "Samples"], [
            [_name((d.task, d.name, "")), text(d.model), words.change(d), words.probability(d.p_holm), d.verdict,
             words.count(d.count)] for d in history.differences]))
    said.append(_table(["Run", "Model", "Figure", "Value"], [
        [text(point.created[:19].replace("T", " ")), text(point.model), _name((point.task, point.name, "")),
         words.with_interval(point)]
        for point in history.trend[-RUNS:]]))
    return said


def _prompts(comparison: Comparison) -> list[str]:
    own: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for each in comparison.views.templates:
        if each.value == each.value:
            own.setdefault((each.figure, each.model), []).append((each.value, each.template))
    rows = []
    for (name, model), found in own.items():
        values = [value for value, _ in found]
        (low, worst), (high, best) = min(found), max(found)
        spread = words.amount(stdev(values), name) if len(values) > 1 else words.NONE
        ends = [f"{text(best)}: {words.value(high, name)}", f"{text(worst)}: {words.value(low, name)}"]
        rows.append([text(model), text(words.spoken(name)), words.value(fmean(values), name), spread,
                     *(ends if high > low else ["all alike"] * 2)])
    return ["## Prompts", _table(["Model", "Figure", "Mean", "Deviation", "Best", "Worst"], rows)] if rows else []


def _costs(comparison: Comparison) -> list[str]:
    costs = {cost.model: cost for cost in comparison.costs}
    rows = [[text(model), *(_fastest(cost, what) for what in ("images", "texts")), words.duration(cost.load_s),
             words.size(cost.peak_memory), words.size(cost.weights_bytes), words.size(cost.vector_bytes)]
            for model in order(comparison) if (cost := costs.get(model))]
    return ["## Cost", _table(["Model", "Pictures a second", "Texts a second", "Load", "Peak memory", "Weights",
                               "A vector"], rows)] if rows else []


def _fastest(cost: Cost, what: str) -> str:
    rate = fastest(cost, what)
    return f"{words.rate(rate.per_second)} (batch {rate.batch})" if rate else words.NONE


def _provenance(comparison: Comparison) -> list[str]:
    run, data = comparison.provenance, comparison.data
    counts = ", ".join(text(words.counted(count, words.spoken(name))) for name, count in data.counts.items())
    lines = [f"Data: {text(data.name)} {text(data.revision)}".rstrip() + f" ({counts}), SHA-256 {text(data.sha256)}",
             *(f"{text(model.name)}: {text(model.fingerprint)}, {text(model.runtime)}, {text(model.precision)}"
               for model in comparison.models),
             f"Suite {text(run.suite)}, seed {run.seed}, {text(run.created)}, {text(run.hardware)}",
             ", ".join(f"{text(name)} {text(version)}" for name, version in run.versions.items()),
             ", ".join(f"{text(phase)} {words.duration(took)}" for phase, took in run.seconds.items())]
    reasons: dict[str, int] = {}
    for _, reason in data.skipped:
        reasons[reason] = reasons.get(reason, 0) + 1
    left = ", ".join(f"{text(reason)} {words.count(count)}" for reason, count in reasons.items())
    lines.append(f"Not used: {left} (named in comparison.json)" if left else "")
    lines += [f"Not run: {text(words.spoken(task))}: {text(why)}" for task, why in run.left_out.items()]
    return ["## Provenance", "\n".join(f"- {line}" for line in lines if line)]
