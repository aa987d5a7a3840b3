"""Train a recipe. Killed at any point and run again, it goes on where it stopped.

  diptych train siglip_tiny --to runs/siglip
  diptych train siglip2_tiny --set stages.pretrain.run.steps=300 --set loss=softmax
  diptych train siglip --data 'shards/{0000..0999}.tar' --set tokenizer_file=tokenizer.json --dry-run
  diptych train finetune --data pairs.parquet --evaluate-on held-out.parquet    figures of your own in metrics.jsonl
  torchrun --nproc-per-node 8 -m diptych train clip --data 's3://bucket/{0000..9999}.tar' --strategy fsdp
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.core.types import Embedder
    from diptych.recipes.family.config import Recipe

HELP = "train a recipe: clip, siglip, siglit, siglip2, mobileclip, finetune, their _tiny siblings, the bundled model's"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, its data, where to, and what to change."""
    parser.add_argument("recipe", help="clip, siglip, siglit, siglip2, mobileclip, finetune; each with _tiny; tiny")
    parser.add_argument("--to", metavar="DIR", help="run folder (default runs/RECIPE)")
    parser.add_argument("--data", action="append", default=[], metavar="PATH",
                        help="shards (tar, Parquet, CSV, JSONL, a folder; {000..127}, *; s3://…) instead of the "
                        "recipe's; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
                        help="change a setting, e.g. stages.pretrain.run.optimizer.lr=5e-4; may be repeated")
    parser.add_argument("--show", action="store_true", help="print the resolved recipe as JSON and stop")
    parser.add_argument("--dry-run", action="store_true",
                        help="print the resolved recipe, then parameters, memory, tokens and operations of a step")
    parser.add_argument("--evaluate-on", metavar="DATASET", help="pictures of your own, held out, by which the model "
                        "is judged on its way: whatever `diptych compare --on` takes but a collection")
    parser.add_argument("--evaluate-suite", default="quick", metavar="SUITE",
                        help="with --evaluate-on: quick (default), standard or full")
    parser.add_argument("--evaluate-limit", type=int, default=1000, metavar="N",
                        help="with --evaluate-on: at most so many pictures, drawn (default 1000)")
    parser.add_argument("--strategy", choices=("ddp", "fsdp"), default="ddp", help="under torchrun: replicas or shards")
    parser.add_argument("--device", help="cpu or cuda (default: the GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Resolve the recipe, train, print the model's folder."""
    import difflib

    from diptych.core.config import override, to_json
    from diptych.recipes.family.config import Recipe
    from diptych.recipes.table import RECIPES

    if args.recipe not in RECIPES:
        near = difflib.get_close_matches(args.recipe, RECIPES, n=1, cutoff=0.0)
        raise ValueError(f"no recipe {args.recipe!r}; the nearest is {near[0]!r} (there are: {', '.join(RECIPES)})")
    config = RECIPES[args.recipe]()
    if args.data:
        config = _with_data(config, args.data)
    config = override(config, args.assignments)
    if args.show:
        sys.stdout.write(to_json(config))
        return 0
    folder = Path(args.to or Path("runs") / args.recipe)
    if isinstance(config, Recipe):
        return _dry_run(config) if args.dry_run else _train(config, folder, args)
    if args.evaluate_on:
        raise ValueError(f"{args.recipe} has evaluators of its own; leave --evaluate-on out")
    if args.dry_run or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"{args.recipe} is the bundled model's own recipe, for one process; --show prints it")
    from diptych.recipes.tiny.run import train

    print(train(config, folder))
    return 0


def _with_data(config: object, paths: list[str]) -> "Recipe":
    from dataclasses import replace

    from diptych.recipes.family.config import Recipe, SourceConfig

    if not isinstance(config, Recipe):
        raise ValueError("the bundled model's own recipe learns from the bundled corpus; leave --data out")
    sources = tuple(SourceConfig(name=path, paths=(path,)) for path in paths)
    return replace(config, data=replace(config.data, sources=sources))


def _dry_run(config: "Recipe") -> int:
    from diptych.core.config import to_json
    from diptych.recipes.family.estimate import describe, estimate
    from diptych.recipes.family.start import resolved, towers_of

    config, ranks = resolved(config), int(os.environ.get("WORLD_SIZE", "1"))
    if os.environ.get("RANK", "0") != "0":
        return 0
    sys.stdout.write(to_json(config))
    for stage in config.stages:
        print(describe(estimate(config, stage, towers_of(config, stage), ranks)))
    return 0


def _train(config: "Recipe", folder: Path, args: argparse.Namespace) -> int:
    from diptych.recipes.family.run import train
    from diptych.training import parallel

    evaluate = _evaluators(config, args)  # what is wrong with its data is told before anything else
    cluster = parallel.join("fsdp" if args.strategy == "fsdp" else "ddp", args.device)
    made = train(config, folder, cluster, evaluate)
    if cluster.first:
        print(made)
    if cluster.size > 1:
        parallel.leave(cluster)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # gloo's threads now and then abort a process that ends by itself (torch 2.13)
    return 0


def _evaluators(config: "Recipe", args: argparse.Namespace) -> "Callable[[Embedder], Mapping[str, float]] | None":
    """The bundled corpus's scores for who learns from it, and the suite's on data of one's own."""
    from diptych import comparing
    from diptych.recipes.family.gallery import corpus_scores
    from diptych.recipes.suites import named

    corpus = corpus_scores(config)
    if not args.evaluate_on:
        return corpus
    suite = named(args.evaluate_suite)
    if os.environ.get("RANK", "0") != "0":
        return lambda _: {}  # the first rank evaluates; the others only help to put a sharded model together
    own = comparing.evaluator(args.evaluate_on, suite=suite, limit=args.evaluate_limit)
    return own if corpus is None else lambda embedder: {**corpus(embedder), **own(embedder)}
