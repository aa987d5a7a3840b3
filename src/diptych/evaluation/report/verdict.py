"""The verdict in at most three sentences: who leads, how sure that is, and what it costs."""

from collections.abc import Mapping, Sequence

from diptych.evaluation.report import words
from diptych.evaluation.report.ranking import Trade, against, ranked, trades
from diptych.evaluation.result import Cost, Difference, Figure


def verdict(
    headline: tuple[str, str], figures: Sequence[Figure], differences: Sequence[Difference], costs: Sequence[Cost]
) -> tuple[str, ...]:
    """Plain sentences for `Comparison.sentences`. ValueError when no model has the headline figure."""
    order = ranked(headline, figures)
    if not order:
        known = sorted({f"{figure.task} {figure.name}" for figure in figures if not figure.slice})
        raise ValueError(f"no model has the headline figure {' '.join(headline)!r}; there are: {', '.join(known)}")
    best = order[0]
    versus = against(best.model, differences)
    tested = [versus[key] for figure in order[1:] if (key := (figure.model, (*headline, ""))) in versus]
    worse = [d for d in tested if d.verdict == "worse"]
    unclear = [d for d in tested if d.verdict == "not distinguishable"]
    level = [best.model, *(d.model for d in unclear)]
    elsewhere = {d.model: _elsewhere([other for (model, key), other in versus.items()
                                      if model == d.model and key != (*headline, "")]) for d in unclear}
    sentences = (_lead(best, alone=len(order) == 1), _certainty(worse, unclear, elsewhere),
                 _price(trades(headline, figures, costs), level))
    return tuple(sentence for sentence in sentences if sentence)


def _lead(best: Figure, *, alone: bool) -> str:
    name = f"{words.spoken(best.task)} ({words.spoken(best.name)})"
    reached = f"{words.with_interval(best)} on {words.plural(best.count, 'sample')}"
    return f"{best.model} reaches {reached} in {name}." if alone else f"{best.model} leads in {name}: {reached}."


def _elsewhere(others: Sequence[Difference]) -> str:
    """What the other figures say of a model against the leader, "" where they do not tell them apart either."""
    counts = [(way, sum(d.verdict == way for d in others)) for way in ("worse", "better")]
    found = [f"{way} in {count}" for way, count in counts if count]
    return f"{words.listing(found)} of {words.plural(len(others), 'other figure')}" if found else ""


def _certainty(worse: Sequence[Difference], unclear: Sequence[Difference], elsewhere: Mapping[str, str]) -> str:
    if len(worse) > 3:
        beaten = f"{len(worse)} others, the nearest by {_by(min(worse, key=lambda d: abs(d.value)))}"
    else:
        beaten = words.listing(f"{d.model} (by {_by(d)})" for d in worse) if worse else ""
    level = words.listing(f"{d.model} ({more})" if (more := elsewhere[d.model]) else d.model
                          for d in unclear) if unclear else ""
    known = [d for d in unclear if d.needed is not None]
    enough = words.needed(max(known, key=lambda d: d.needed or 0)) if known else ""
    verb = "is" if len(unclear) == 1 else "are"
    doubt = f"{level} {verb} not distinguishable from it in this figure on this data" if level else ""
    doubt += f" ({enough})" if doubt and enough else ""
    if beaten and doubt:
        return f"It is better than {beaten}, but {doubt}."
    return f"It is better than {beaten}." if beaten else f"{doubt}." if doubt else ""


def _by(difference: Difference) -> str:
    return words.amount(difference.value, difference.name)


def _price(known: Sequence[Trade], level: Sequence[str]) -> str:
    if not known or known[0].figure.model != level[0]:
        return ""
    best, fastest = known[0], min(known, key=lambda trade: trade.latency_s)
    cheapest = min((trade for trade in known if trade.figure.model in level), key=lambda trade: trade.latency_s)
    if cheapest is not best:
        return (f"Of these {cheapest.figure.model} is the fastest: {_takes(cheapest)}, against {_takes(best)} of "
                f"{best.figure.model}.")
    if fastest is not best:
        return f"It takes {_takes(best)}; the fastest, {fastest.figure.model}, takes {_takes(fastest)}."
    also = "; no other is faster" if len(known) > 1 else ""
    return f"It takes {_takes(best)}{also}."


def _takes(trade: Trade) -> str:
    batch = "a picture" if trade.rate.batch == 1 else f"a batch of {trade.rate.batch} pictures"
    return f"{words.duration(trade.latency_s)} {batch} and {words.size(trade.memory)} of memory"
