"""Search a collection by text, by picture, or by one of its own pictures.

  diptych search trips "a red boat at dusk"
  diptych search trips "2:boat + sunset - people" --where "width > 1000" -k 20
  diptych search trips --image boat.jpg --not night
  diptych search pictograms "赤い果物" --json
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.core.types import Hit, SearchResult

HELP = "find pictures by text, picture or likeness"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to look for, where, and how much of it."""
    parser.add_argument("collection", metavar="NAME", help="the collection, e.g. pictograms")
    parser.add_argument("query", nargs="?", default="", help="what to look for; terms as in `2:boat + sunset - people`")
    parser.add_argument("--image", metavar="FILE", help="find pictures like this one")
    parser.add_argument("--like", metavar="ID", help="find pictures like that one of the collection")
    parser.add_argument("--not", action="append", default=[], metavar="TEXT", dest="exclude",
                        help="push away from this; may be repeated")
    parser.add_argument("--where", metavar="SQL", help="only pictures that satisfy this, e.g. \"year > 1990\"")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="how many (default 10)")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="leave out the first N")
    parser.add_argument("--no-hybrid", action="store_true", help="by meaning only, not by the words of captions")
    parser.add_argument("--model", help="must be the model that embedded the collection")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Search once and print what was found."""
    from diptych import workbench
    from diptych.core import telemetry

    if not (args.query.strip() or args.image or args.like or args.exclude or args.where):
        raise ValueError("nothing to look for; give a query, --image, --like, --not or --where")
    if args.k < 1:
        raise ValueError(f"-k is a number of pictures, at least 1, got {args.k}")
    telemetry.notice(workbench.model_for(args.collection, args.model).notice)
    searcher = workbench.open_collection(args.collection, args.model)
    result = searcher.search(args.query, image=args.image, like=args.like, exclude=args.exclude, where=args.where,
                             k=args.k, offset=args.offset, hybrid=not args.no_hybrid)
    if args.json:
        print(json.dumps(as_dict(result), ensure_ascii=False, indent=2))
    else:
        show(result, args.offset)
    return 0


def as_dict(result: "SearchResult") -> dict[str, object]:
    """The result as JSON values."""
    return {"query": result.query, "model": {"name": result.model_name, "fingerprint": result.fingerprint},
            "took_ms": round(result.took_ms, 2), "answered": result.answered,
            "hits": [_hit(hit) for hit in result]}


def show(result: "SearchResult", offset: int) -> None:
    """A table for people; tab-separated lines when stdout is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    if not result.answered:
        words = "nothing here matches; the nearest are:" if result.hits else "nothing here matches"
        print(words, file=sys.stdout if terminal else sys.stderr)
    if not terminal:
        for number, hit in enumerate(result, offset + 1):
            print(number, f"{hit.score:.4f}", f"{hit.probability:.4f}", hit.uri, _one_line(hit.caption), sep="\t")
        return
    table = Table("", "cosine", "match", "picture", "caption", "rank in", box=None, header_style="dim")
    for number, hit in enumerate(result, offset + 1):
        ranks = " ".join(f"{name} {rank}" for name, rank in hit.ranks.items())
        table.add_row(str(number), f"{hit.score:.3f}", f"{hit.probability:.0%}", hit.uri, _one_line(hit.caption), ranks,
                      style=None if hit.matches else "dim")
    Console(markup=False).print(table)
    print(f"{result.total:,} pictures ranked by {result.model_name} in {result.took_ms:.0f} ms")


def _hit(hit: "Hit") -> dict[str, object]:
    return {"id": hit.id, "uri": hit.uri, "caption": hit.caption, "score": round(hit.score, 6),
            "probability": round(hit.probability, 6), "matches": hit.matches, "ranks": dict(hit.ranks),
            "metadata": dict(hit.metadata)}


def _one_line(text: str) -> str:
    return " ".join(text.split())
