"""What every model said of every sample: one Parquet file for each task, so that a figure can be looked into."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diptych.core.files import atomic_write
from diptych.evaluation.outcome import Outcome


def write_predictions(outcomes: Mapping[str, Mapping[str, Outcome]], folder: Path) -> list[Path]:
    """`folder`/TASK.parquet: a row for each model and sample, with its share in each figure, its slices, details."""
    for old in folder.glob("*.parquet"):  # of a run with other tasks
        old.unlink()
    written = []
    for task, by_model in outcomes.items():
        table = pa.concat_tables([_table(model, outcome) for model, outcome in by_model.items()],
                                 promote_options="default")
        path = folder / f"{task}.parquet"
        with atomic_write(path) as stream:
            pq.write_table(table, stream)
        written.append(path)
    return written


def _table(model: str, outcome: Outcome) -> pa.Table:
    columns: dict[str, Any] = {"model": [model] * len(outcome.ids), "id": list(outcome.ids)}
    columns |= {name: pa.array(values, pa.float64()) for name, values in outcome.values.items()}
    columns |= {name: list(values) for name, values in outcome.slices.items()}
    columns |= {name: _column(values) for name, values in outcome.details.items() if name not in columns}
    return pa.table(columns)


def _column(values: Sequence[Any]) -> pa.Array:
    """As Arrow has it; what is of several types, as JSON text."""
    try:
        return pa.array(list(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([json.dumps(value, default=str) for value in values])
