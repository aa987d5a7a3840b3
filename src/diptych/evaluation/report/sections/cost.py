"""What a model takes: time, memory, room, and money at a price that the reader gives."""

from collections.abc import Mapping

from diptych.evaluation.report import charts, words
from diptych.evaluation.report.looks import badge, looks, mark
from diptych.evaluation.report.markup import Html, content, h, number, table
from diptych.evaluation.report.ranking import fastest
from diptych.evaluation.result import Comparison, Cost

PRICE = 1.0
"""Of an hour of the machine, until the reader says otherwise."""
TOWERS = {"images": "pictures", "texts": "queries"}


def section(comparison: Comparison) -> Html | None:
    """None without costs."""
    costs = {cost.model: cost for cost in comparison.costs}
    costs = {name: costs[name] for name in looks(comparison) if name in costs}
    if not costs:
        return None
    speeds = [_speed(comparison, costs, what) for what in TOWERS if any(fastest(c, what) for c in costs.values())]
    return content(_price(comparison, costs), _needs(comparison, costs), h("h3", "Speed") if speeds else None,
                   h("div", speeds, class_="cards"))


def per_million(per_second: float, price: float) -> float:
    """The price of a million examples at this rate, of a machine that costs `price` an hour and is always busy."""
    return price * 1e6 / per_second / 3600


def _price(comparison: Comparison, costs: Mapping[str, Cost]) -> Html:
    all_looks = looks(comparison)
    rows = [[badge(all_looks[name]), *(_million(cost, what) for what in TOWERS)] for name, cost in costs.items()]
    asked = h("input", type="number", id="price", value=f"{PRICE:g}", min=0, step="any", inputmode="decimal")
    hint = h("span", "in any currency; the table is in the same", class_="hint")
    return content(
        h("h3", "Price"), h("p", h("label", "Price of this machine for an hour", for_="price"), asked, hint,
                            class_="price"),
        table("Price of a million, on a machine that is always busy", ["Model"],
              [f"A million {said}" for said in TOWERS.values()], rows, "prices"))


def _million(cost: Cost, what: str) -> Html:
    rate = fastest(cost, what)
    if rate is None or rate.per_second <= 0:
        return number(words.NONE)
    price = h("b", f"{per_million(rate.per_second, PRICE):,.2f}", data_rate=rate.per_second)
    return number(price, h("small", f"{words.rate(rate.per_second)} a second in batches of {rate.batch}"))


def _needs(comparison: Comparison, costs: Mapping[str, Cost]) -> Html:
    all_looks = looks(comparison)
    rows = [[badge(all_looks[name]), words.duration(cost.load_s), words.size(cost.peak_memory),
             words.size(cost.weights_bytes), words.size(cost.vector_bytes), words.size(1e6 * cost.vector_bytes),
             *(words.NONE if flops is None else words.rate(flops) for flops in (cost.image_gflops, cost.text_gflops))]
            for name, cost in costs.items()]
    asked = ["Load", "Peak memory", "Weights", "A vector", "A million vectors", "GFLOPs a picture", "GFLOPs a text"]
    return content(h("h3", "What it takes"), table("Time to load, memory and room", ["Model"], asked, rows))


def _speed(comparison: Comparison, costs: Mapping[str, Cost], what: str) -> Html:
    all_looks, said = looks(comparison), TOWERS[what]
    rates = [(name, rate) for name, cost in costs.items() for rate in cost.rates if rate.what == what]
    rates.sort(key=lambda found: found[1].batch)
    rows = [[mark(all_looks[name]), rate.batch, words.rate(rate.per_second), words.duration(rate.p50_s),
             words.duration(rate.p95_s)] for name, rate in rates]
    label = f"{said} a second by batch size and model"
    measured = ["Batch", "A second", "Median", "95% within"]
    numbers = table(f"{words.title(said)} by batch size", ["Model"], measured, rows)
    return h("article", h("h4", f"{words.title(said)} a second"),
             charts.throughput(list(costs.values()), what, all_looks, label), numbers, class_="card")
