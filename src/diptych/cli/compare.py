"""Compare models on your own pictures, with intervals, tests and costs, in one report.

  diptych compare diptych-tiny runs/siglip/model --on pictograms --open
  diptych compare A B C --on pairs.parquet --languages en,de --to reports/shop
  diptych compare A B --on photos/ --suite quick            folders are classes, text files beside pictures captions
  diptych compare A B --on 'shards/{000..009}.tar' --limit 5000 --label species
  diptych compare A B --on imagenet1k=/data/ILSVRC2012      a public set; --sets lists those that are known
  diptych compare A B --on hub:cifar100                     downloads its test part
  diptych compare A --on pairs.csv --set corruptions.pictures=300 --set queries=null
  diptych compare --on collection:trips --gold gold.jsonl   a job: is it as good as the last time? exit status 3 if not
  diptych compare NEW --on collection:trips --gold gold.jsonl   would this model be better there?
  diptych compare --recommend --languages ko,en --max-latency-ms 20 --max-memory-gb 2

Killed and run again, it goes on: pictures and texts are embedded once. docs/compare.md explains every figure.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.evaluation.result import Comparison
    from diptych.evaluation.tasks import Suite

HELP = "which model should I use? quality with intervals, robustness, fairness and cost on your own data"


SHOWN = 20
"""Models that --recommend prints."""

WORSE = 3
"""Exit status of a run that is worse than the one before."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, on what, where to."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names, folders or files of models")
    parser.add_argument("--on", metavar="DATASET",
                        help="a folder, CSV, TSV, JSONL, Parquet, tars ({000..127}, *; s3://…), pictograms, a public "
                        "set: NAME (in $DIPTYCH_DATA), NAME=FOLDER, hub:NAME, or a collection: collection:NAME")
    parser.add_argument("--sets", action="store_true", help="instead: the public sets that --on knows, and which of "
                        "them are here")
    parser.add_argument("--gold", type=Path, metavar="FILE", help="with a collection: a table of query, expected "
                        "(ids or URIs) and language")
    parser.add_argument("--history", type=Path, metavar="DIR", help="keep every run there and compare it with the one "
                        "before; exit status 3 when it is worse (default for a collection: history in --to)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder of the report (default reports/DATASET)")
    parser.add_argument("--suite", default="standard", help="quick, standard (default) or full")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
                        help="change a setting of the suite, e.g. corruptions.pictures=300; may be repeated")
    parser.add_argument("--languages", metavar="LIST", help="captions in these languages alone, e.g. en,de")
    parser.add_argument("--limit", type=int, metavar="N", help="draw so many pictures")
    parser.add_argument("--label", metavar="COLUMN", help="column of classes (default: label, class, category …)")
    parser.add_argument("--caption", metavar="COLUMN", help="column of captions (default: caption, text, title …)")
    parser.add_argument("--language", metavar="COLUMN", help="column of the captions' language (default: language)")
    parser.add_argument("--split", metavar="COLUMN", help="column of train, val and test (default: split)")
    parser.add_argument("--domain", metavar="COLUMN", help="column of domains (photo, sketch): learn in each, test in "
                        "the others (default: domain)")
    parser.add_argument("--descriptions", type=Path, metavar="FILE",
                        help='what classes look like: {"class": ["text", …]} (default: descriptions.json of the data)')
    parser.add_argument("--group", action="append", default=[], metavar="COLUMN", dest="groups",
                        help="column of groups: the worst one and the gap between them; may be repeated")
    parser.add_argument("--show", action="store_true", help="print the suite as JSON and stop")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--open", action="store_true", help="open the report in a browser")
    parser.add_argument("--recommend", action="store_true",
                        help="instead: which models of the catalogue meet the needs, by earlier comparisons (in --to, "
                        "default reports/) and by what is published")
    parser.add_argument("--max-latency-ms", type=float, metavar="MS", help="with --recommend: of one picture")
    parser.add_argument("--max-memory-gb", type=float, metavar="GB", help="with --recommend: of a process")


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report, print the verdict and where the report is."""
    from diptych import comparing
    from diptych.core.config import to_json
    from diptych.evaluation.history import add_run
    from diptych.evaluation.predictions import write_predictions
    from diptych.evaluation.report import charts, record
    from diptych.evaluation.report.files import write_report
    from diptych.evaluation.sets import Columns

    languages = [code.strip() for code in args.languages.split(",")] if args.languages else None
    if args.sets:
        return _sets(args.json)
    if args.recommend:
        return _recommend(args, tuple(languages or ()))
    suite = _suite(args)
    if args.show:
        sys.stdout.write(to_json(suite))
        return 0
    live = bool(args.on) and args.on.startswith(comparing.LIVE)
    if not args.on or not (args.models or live):
        raise ValueError("which models, on what? `diptych compare MODEL… --on DATASET`, or --recommend")
    charts.require()  # told before the work, not after it
    columns = Columns(label=args.label, caption=args.caption, language=args.language, split=args.split)
    found = comparing.compare(args.models, args.on, suite=suite, languages=languages, columns=columns,
                              limit=args.limit, gold=args.gold, descriptions=args.descriptions)
    folder = args.to or Path("reports") / _name(args.on.removeprefix(comparing.LIVE))
    if live or args.history:
        comparison, report = add_run(found, args.history or folder / "history")
    else:
        comparison = found.comparison
        write_predictions(found.outcomes, folder / "predictions")
        report = write_report(comparison, folder)
    if args.json:
        sys.stdout.write(record.to_json(comparison))
    else:
        _tell(comparison, report)
    if args.open:
        import webbrowser

        webbrowser.open(report.resolve().as_uri())
    return WORSE if comparison.history and comparison.history.worse else 0


def _tell(comparison: "Comparison", report: Path) -> None:
    """The verdict, what could not be used or done, and where the report is."""
    from diptych.evaluation.report import words

    for sentence in comparison.sentences:
        print(sentence)
    for figure in comparison.figures:
        if (figure.task, figure.name) == comparison.headline and not figure.slice:
            print(f"  {figure.model:40} {words.with_interval(figure)}")
    if skipped := comparison.data.skipped:
        print(f"{words.plural(len(skipped), 'record')} skipped; the first, {skipped[0][0]}: {skipped[0][1]}")
    if left_out := comparison.provenance.left_out:
        print(f"left out: {', '.join(left_out)} (the report says why)")
    print(report)


def _suite(args: argparse.Namespace) -> "Suite":
    from dataclasses import replace

    from diptych.core.config import override
    from diptych.evaluation.domains import DomainsConfig
    from diptych.recipes.suites import named

    suite = override(named(args.suite), args.assignments)
    if args.domain:
        suite = replace(suite, domains=replace(suite.domains or DomainsConfig(), column=args.domain))
    return replace(suite, groups=(*suite.groups, *args.groups))


def _recommend(args: argparse.Namespace, languages: tuple[str, ...]) -> int:
    """Print the models that fit, and those of which too little is known."""
    from diptych import comparing
    from diptych.core.config import to_json
    from diptych.evaluation.report import words
    from diptych.evaluation.selection import Needs

    if args.models:
        raise ValueError("--recommend looks at the whole catalogue; leave the models out")
    latency, memory = args.max_latency_ms, args.max_memory_gb
    needs = Needs(languages=languages, max_latency_s=None if latency is None else latency / 1e3,
                  max_memory=None if memory is None else round(memory * 1e9))
    choices = comparing.recommend(needs, args.to or "reports")
    if args.json:
        sys.stdout.write("[" + ",".join(to_json(choice) for choice in choices) + "]\n")
        return 0
    told = {True: "fits", None: "unknown"}
    for choice in [choice for choice in choices if choice.fits is not False][:SHOWN]:
        one = choice.candidate
        if one.measured and (figure := one.measured.figure):
            part = f" in {figure.slice.removeprefix('language=')}" if figure.slice else ""
            quality = f"measured here: {words.with_interval(figure)} {figure.name}{part} on {one.measured.data}"
        else:
            quality = "published: " + ("no result" if one.published is None else f"ImageNet {one.published:.1f}%")
        why = f" ({'; '.join(choice.reasons)})" if choice.reasons else ""
        print(f"{told[choice.fits]:8} {one.name:44} {quality}{why}")
    left = sum(choice.fits is False for choice in choices)
    print(f"{left} of {len(choices)} models do not fit; --json says why of each. What is unknown is measured by "
          "`diptych compare MODEL --on DATASET`.")
    return 0


def _sets(as_json: bool) -> int:
    """Print the public sets, and where they are."""
    from diptych.core.config import to_json
    from diptych.evaluation.public.opening import listed

    found = listed()
    if as_json:
        sys.stdout.write("[" + ",".join(to_json(one) for one in found) + "]\n")
        return 0
    for one in found:
        entry = one.entry
        where = one.folder or (f"hub:{entry.name}" if entry.hub else entry.home)
        print(f"{'here' if one.folder else '':5}{entry.name:31} {entry.task:13} {entry.size:>7,}  "
              f"{'VTAB+' if entry.vtab_plus else '':6} {entry.licence:46} {where}")
    return 0


def _name(on: str) -> str:
    """A folder's name for a data set's path or pattern, or for a public set."""
    name, equals, _ = on.partition("=")
    if equals and "/" not in name:
        return name
    on = on.removeprefix("hub:")
    stem = Path(on.rstrip("/")).name.split(".")[0]
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in stem).strip("-") or "data"
