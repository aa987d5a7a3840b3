"""Metrics as JSON lines, one object per record."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from diptych.core.files import write_text


class MetricLog:
    """Appends {"step": …, name: number} lines to a file."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as stream:
                stream.write(b"\n")  # a kill cut the last line: the next record must not be lost with it

    def write(self, step: int, **numbers: float | str) -> None:
        """Append one record and flush it."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **numbers}) + "\n")

    def read(self) -> list[dict[str, float | str]]:
        """Every whole record so far; a line cut by a kill is left out."""
        records: list[dict[str, float | str]] = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    def replace(self, records: Sequence[Mapping[str, float | str]]) -> None:
        """Atomically put these records in the place of all others."""
        write_text(self.path, "".join(f"{json.dumps(record)}\n" for record in records))
