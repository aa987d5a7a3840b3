"""Figures as people read them: shares in per cent with their interval, differences in points, times and sizes in the
unit that fits. A minus is a minus, and what is not known is a dash."""

import math
import re
from collections.abc import Iterable

from diptych.evaluation.result import Difference, Figure, Point

NONE = "–"
NOT_SHARES = re.compile(r"rmse|skew|cider|brier|cosine|ratio|rank|loss|distance|association|_ms$")
"""Figures with these in their name are not between 0 and 1 by what they are, and have no per cent."""


def is_share(name: str) -> bool:
    """Whether a figure of this name is a share, to be shown in per cent."""
    return not NOT_SHARES.search(name.lower())


def percent(share: float) -> str:
    """84.1%."""
    return value(share, "")


def value(number: float, name: str) -> str:
    """84.1%, or 0.339 where `name` is not that of a share."""
    return _bare(number, name) + ("%" if is_share(name) and math.isfinite(number) else "")


def interval(low: float, high: float, name: str) -> str:
    """81.9–86.2, "" where there is none. The unit stands with the value before it."""
    if math.isnan(low) or math.isnan(high):
        return ""
    between = " to " if low < 0 else "–"
    return f"{_bare(low, name)}{between}{_bare(high, name)}"


def with_interval(figure: Figure | Point) -> str:
    """84.1% (81.9–86.2)."""
    around = interval(figure.low, figure.high, figure.name)
    return value(figure.value, figure.name) + (f" ({around})" if around else "")


def amount(number: float, name: str) -> str:
    """How large a difference is, without its sign: 3.2 points, or 0.021."""
    return _bare(abs(number), name) + (_points(number, name))


def change(difference: Difference) -> str:
    """+3.2 points (1.1 to 5.3)."""
    name = difference.name
    sign = "+" if difference.value > 0 else ""
    around = "" if math.isnan(difference.low) else f" ({_bare(difference.low, name)} to {_bare(difference.high, name)})"
    return f"{sign}{_bare(difference.value, name)}{_points(difference.value, name)}{around}"


def verdict(difference: Difference) -> str:
    """"worse", or "not distinguishable; about 2,400 samples would tell"."""
    if difference.verdict != "not distinguishable":
        return difference.verdict
    return f"not distinguishable; {needed(difference)}"


def needed(difference: Difference) -> str:
    """How many samples would tell."""
    if difference.needed is None:
        return "there is no difference at all"
    return f"about {count(_rounded(difference.needed))} samples would tell"


def probability(p: float) -> str:
    """A p-value: 0.032, < 0.001."""
    return NONE if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def count(number: float) -> str:
    """12,345."""
    return f"{number:,.0f}"


def rate(per_second: float) -> str:
    """At least three digits: 1,234, 45.6, 0.789."""
    if not math.isfinite(per_second):
        return NONE
    digits = max(0, 2 - math.floor(math.log10(per_second))) if per_second > 0 else 0
    return f"{per_second:,.{min(digits, 6)}f}"


def duration(seconds: float) -> str:
    """12.4 ms, 3.20 s, 4 min 10 s."""
    if not math.isfinite(seconds):
        return NONE
    if seconds < 1:
        return f"{rate(1000 * seconds)} ms"
    return f"{rate(seconds)} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def size(number: float) -> str:
    """Bytes: 512 B, 1.20 GB; a GB is 10⁹ of them."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{rate(number / scale)} {unit}"
    return f"{number:.0f} B"


def title(name: str) -> str:
    """A task or a figure as a heading: "zero_shot" is Zero shot."""
    words = spoken(name)
    return words[:1].upper() + words[1:]


def spoken(name: str) -> str:
    """A task or a figure inside a sentence."""
    return name.replace("_", " ").strip()


def listing(names: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def plural(number: int, one: str, many: str | None = None) -> str:
    """1 model, 2 models."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def counted(number: int, many: str) -> str:
    """1 class, 2 classes: `many` is a regular plural."""
    one = many.removesuffix("es") if many.endswith("sses") else many.removesuffix("s")
    return plural(number, one, many)


def _points(number: float, name: str) -> str:
    return "" if not is_share(name) else " point" if f"{abs(100 * number):.1f}" == "1.0" else " points"


def _bare(number: float, name: str) -> str:
    if not math.isfinite(number):
        return NONE
    text = f"{100 * number:.1f}" if is_share(name) else f"{number:.3f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def _rounded(number: int) -> int:
    """Two digits are all that an estimate of a sample size knows."""
    digits = max(0, len(str(number)) - 2)
    return math.ceil(number / 10**digits) * 10**digits
