"""Train a recipe. Killed at any point and run again, it goes on where it stopped.

  diptych train tiny --to runs/tiny
  diptych train tiny --to runs/trial --set locked.steps=200 --set loss=softmax
"""

import argparse
import sys
from pathlib import Path

HELP = "train a recipe, e.g. the bundled model's"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, where to, and what to change."""
    parser.add_argument("recipe", help="tiny, tiny_scratch")
    parser.add_argument("--to", metavar="DIR", help="run folder (default runs/RECIPE)")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="assignments",
                        help="change a setting of the recipe, e.g. locked.optimizer.lr=5e-4; may be repeated")
    parser.add_argument("--show", action="store_true", help="print the resolved recipe as JSON and stop")


def run(args: argparse.Namespace) -> int:
    """Resolve the recipe, train, print the model's folder."""
    import difflib

    from diptych.core.config import override, to_json
    from diptych.recipes.tiny import RECIPES

    if args.recipe not in RECIPES:
        near = difflib.get_close_matches(args.recipe, RECIPES, n=1, cutoff=0.0)
        raise ValueError(f"no recipe {args.recipe!r}; the nearest is {near[0]!r} (there are: {', '.join(RECIPES)})")
    config = override(RECIPES[args.recipe](), args.assignments)
    if args.show:
        sys.stdout.write(to_json(config))
        return 0
    from diptych.recipes.tiny.run import train

    print(train(config, Path(args.to or Path("runs") / args.recipe)))
    return 0
