"""Print how well a model finds the bundled pictograms by name, beside the floors of a classical baseline.

  diptych evaluate tiny                     the committed diptych-tiny
  diptych evaluate tiny --model runs/x/model --write   score, calibrate, and keep both in the model's card
"""

import argparse
import json
import sys

HELP = "score a model on the bundled pictograms"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which recipe's evaluators, which model."""
    parser.add_argument("recipe", choices=["tiny"], help="whose evaluators to run")
    parser.add_argument("--model", default="diptych-tiny", help="a model's name or folder (default diptych-tiny)")
    parser.add_argument("--write", action="store_true", help="keep scores and calibration in the model's card")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")


def run(args: argparse.Namespace) -> int:
    """Score and print."""
    from diptych import workbench
    from diptych.models.checkpoints import folders
    from diptych.recipes.tiny import tiny
    from diptych.recipes.tiny.card import FLOORS
    from diptych.recipes.tiny.run import finish_card, read_recipe, score, scored_gallery

    folder = folders.find(args.model).folder
    config = read_recipe(folder) if (folder / "recipe.json").exists() or args.write else tiny()
    gallery = scored_gallery(config)
    if args.write:
        numbers = finish_card(folder, gallery).scores
    else:
        numbers = score(gallery, workbench.load_model(args.model), config)
    if args.json:
        json.dump(numbers, sys.stdout, indent=2)
        print()
        return 0
    print(f"{'':34}  text→picture      picture→text      floor t→p")
    print(f"{'':34}  {'R@1':>6}  {'R@5':>6}    {'R@1':>6}  {'R@5':>6}    {'R@1':>6}  {'R@5':>6}")
    groups = [*FLOORS, "languages/all", "languages/trained", "languages/held_out",
              *(f"language/{language}" for language in gallery.names)]
    for group in groups:
        figures = "    ".join(
            "  ".join(f"{numbers[f'{group}/{way}_hit@{k}']:6.3f}" for k in (1, 5)) for way in ("t2i", "i2t"))
        floor = "    " + "  ".join(f"{f:6.3f}" for f in FLOORS[group]) if group in FLOORS else ""
        print(f"{group:34}  {figures}{floor}")
    return 0
