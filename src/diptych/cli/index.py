"""Index pictures into a collection, or bring it up to date: only what is new is embedded.

  diptych index photos/ --to trips
  diptych index pairs.parquet more/*.jpg --to trips --model siglip2-base-patch16-256
  diptych index pictograms --to pictograms

A PATH is a folder (recursive), a picture, or a table of pairs (Parquet, CSV, TSV, JSON Lines). Captions may lie beside
the pictures as .txt or .json. Killed at any point and run again, it goes on. See docs/collections.md.
"""

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.index.jobs import IndexReport

HELP = "index folders, pictures and tables of pairs into a collection"

_SHOWN_SKIPPED = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to index, where to, with which model."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="folder, picture, table of pairs, or `pictograms`")
    parser.add_argument("--to", required=True, metavar="NAME", help="the collection; made if there is none")
    parser.add_argument("--model", help="model to embed with (default: the collection's own)")
    parser.add_argument("--no-prune", action="store_true", help="keep pictures that are no longer there")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Index, and report what was done and where the time went."""
    from diptych import workbench
    from diptych.core import telemetry

    telemetry.notice(workbench.model_for(args.to, args.model).notice)
    report = workbench.index(args.paths, args.to, args.model, prune=not args.no_prune)
    print(json.dumps(as_dict(report), ensure_ascii=False, indent=2) if args.json else sentence(report))
    return 0


def as_dict(report: "IndexReport") -> dict[str, object]:
    """The report as JSON values."""
    from dataclasses import asdict

    return asdict(report) | {"pictures_per_s": round(report.pictures_per_s, 1),
                             "skipped_by_reason": report.skipped_by_reason}


def sentence(report: "IndexReport") -> str:
    """The report for people: what there is now, what changed, where the time went, what was left out and why."""
    changes = [f"{getattr(report, name):,} {name}" for name in ("added", "updated", "renamed", "removed", "unchanged")
               if getattr(report, name)]
    lines = [f"{report.collection}: {report.rows:,} pictures ({', '.join(changes) or 'nothing to do'})",
             f"{report.seconds:.1f} s, {report.pictures_per_s:.1f} pictures/s embedded: "
             + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report.seconds_by_phase.items())]
    if report.skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.skipped_by_reason.items())
        lines.append(f"skipped {len(report.skipped):,}: {reasons}")
        lines += [f"  {item.id}: {item.reason}" for item in report.skipped[:_SHOWN_SKIPPED]]
        if len(report.skipped) > _SHOWN_SKIPPED:
            lines.append(f"  … and {len(report.skipped) - _SHOWN_SKIPPED:,} more (--json lists all)")
    return "\n".join(lines)
