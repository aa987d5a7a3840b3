"""comparison.json: a comparison as JSON that every reader takes, and back.

JSON knows no NaN. A number that is not one (no interval, a figure of nothing) is written as null and read as NaN; the
few fields that may be None stay None.
"""

import json
import math
import typing
from typing import Any

from diptych.core.config import from_dict, to_dict
from diptych.evaluation import result
from diptych.evaluation.result import SCHEMA, Comparison, Found

_MAY_BE_NONE = frozenset(
    name for record in (result.Figure, result.Difference, result.Cost, result.Comparison)
    for name, hint in typing.get_type_hints(record).items() if type(None) in typing.get_args(hint))


def to_json(comparison: Comparison) -> str:
    """Indented JSON text."""
    return json.dumps(_finite(to_dict(comparison)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Comparison:
    """What `to_json` wrote. ValueError for another schema, and for fields that are unknown or missing."""
    values = json.loads(text, object_hook=_read)
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"expected a comparison of schema {SCHEMA}, got schema {schema!r}; run the comparison again")
    return from_dict(Comparison, values)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(record: dict[str, Any]) -> dict[str, Any]:
    record = {key: math.nan if value is None and key not in _MAY_BE_NONE else value for key, value in record.items()}
    if isinstance(found := record.get("found"), dict):  # of a grid; `from_dict` gives the values of a mapping unread
        record["found"] = {model: tuple(from_dict(Found, hit) for hit in hits) for model, hits in found.items()}
    return record
