"""List, show or remove collections.

  diptych collections list
  diptych collections show trips
  diptych collections remove trips
"""

import argparse
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from diptych.core.errors import CollectionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diptych.index.progress import JobProgress
    from diptych.index.store import CollectionInfo

HELP = "list, show and remove collections"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which collection."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, help_ in (("list", "every collection at a glance"),
                        ("show", "one collection: its model, sources, columns, last job"),
                        ("remove", "delete a collection; the pictures themselves stay where they are")):
        action = actions.add_parser(name, help=help_, description=help_)
        if name != "list":
            action.add_argument("name", metavar="NAME")
        action.add_argument("--json", action="store_true", help="print as JSON")


def run(args: argparse.Namespace) -> int:
    """Look, or remove."""
    from diptych.index import store
    from diptych.index.progress import read_progress

    match args.action:
        case "list":
            infos = list(_readable(store.list_names()))
            _print(args, [asdict(info) for info in infos],
                   [_line(info) for info in infos] or ["no collections yet; make one: diptych index FOLDER --to NAME"])
        case "show":
            collection = store.Collection(args.name)
            info, columns, job = collection.info, collection.column_types(), read_progress(args.name)
            values = asdict(info) | {"columns": columns, "job": asdict(job) if job else None}
            _print(args, values, _lines(info, columns, job))
        case "remove":
            store.remove(args.name)
            _print(args, {"removed": args.name}, [f"removed {args.name}"])
    return 0


def _readable(names: "Sequence[str]") -> "Iterator[CollectionInfo]":
    """Every collection at a glance; of one that cannot be read, a sentence on stderr."""
    from diptych.index import store

    for name in names:
        try:
            yield store.Collection(name).info
        except CollectionError as error:
            print(f"diptych: {error}", file=sys.stderr)


def _print(args: argparse.Namespace, values: object, lines: list[str]) -> None:
    print(json.dumps(values, ensure_ascii=False, indent=2) if args.json else "\n".join(lines))


def _line(info: "CollectionInfo") -> str:
    return (f"{info.name:<20} {info.rows:>9,} pictures  {info.disk_bytes / 1e6:>8.1f} MB  {info.model}  "
            f"indexed {info.indexed_at[:16].replace('T', ' ')} UTC")


def _lines(info: "CollectionInfo", columns: dict[str, str], job: "JobProgress | None") -> list[str]:
    lines = [_line(info), f"  in {info.path}",
             f"  embedded by {info.model} ({info.fingerprint}, {info.dim} dimensions)"]
    lines += [f"  from {source.root}" + ("" if source.complete else " (not finished: index it again to go on)")
              for source in info.sources]
    lines.append("  columns: " + ", ".join(f"{name} {kind}" for name, kind in columns.items()))
    if job is not None and job.state != "done":
        lines.append(f"  last job {job.state}: {job.done:,} of {job.total or '?'} {job.message}".rstrip())
    return lines
