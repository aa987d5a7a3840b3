"""Train a recipe. Killed at any point and run again, it goes on where it stopped.

  diptych train siglip_tiny --to runs/siglip
  diptych train siglip2_tiny --set stages.pretrain.run.steps=300 --set loss=softmax
  diptych train siglip --data 'shards/{0000..0999}.tar' --set tokenizer_file=tokenizer.json --dry-run
  torchrun --nproc-per-node 8 -m diptych train clip --data 's3://bucket/{0000..9999}.tar' --strategy fsdp
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
        return _dry_run(config) if args.dry_run else _train(config, folder, args.strategy, args.device)
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


def _train(config: "Recipe", folder: Path, strategy: str, device: str | None) -> int:
    from diptych.recipes.family.gallery import corpus_scores
    from diptych.recipes.family.run import train
    from diptych.training import parallel

    cluster = parallel.join("fsdp" if strategy == "fsdp" else "ddp", device)
    made = train(config, folder, cluster, corpus_scores(config))
    if cluster.first:
        print(made)
    if cluster.size > 1:
        parallel.leave(cluster)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # gloo's threads now and then abort a process that ends by itself (torch 2.13)
    return 0
