"""The models: which there are, what they are, and how to get one.

  diptych models list                          in the catalogue, and on this machine
  diptych models show siglip2-base-patch16-256
  diptych models pull siglip2-base-patch16-256
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.models.checkpoints.catalog import Entry

HELP = "list, describe and download models"


def arguments(parser: argparse.ArgumentParser) -> None:
    """list, show NAME, pull NAME."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the models of the catalogue and of this machine")
    show = actions.add_parser("show", help="all that is declared of one model")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print JSON")
    pull = actions.add_parser("pull", help="download a model of the catalogue")
    for action in (show, pull):
        action.add_argument("name", metavar="NAME", help="a model's name; show also takes a folder")


def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    match args.action:
        case "list":
            return _list(args.json)
        case "show":
            return _show(args.name, args.json)
        case "pull":
            return _pull(args.name)
    raise ValueError(f"no action {args.action!r}")


def _list(as_json: bool) -> int:
    models = _all()
    if as_json:
        json.dump([_summary(entry, folder) for entry, folder in models], sys.stdout, indent=2)
        print()
        return 0
    width = max(len(entry.name) for entry, _ in models)
    print(f"{'MODEL':{width}}  HERE  PARAMETERS  WIDTH  PIXELS  LANGUAGES  LICENCE")
    for entry, folder in models:
        spoken = ", ".join(entry.languages) if len(entry.languages) <= 3 else str(len(entry.languages))
        print(f"{entry.name:{width}}  {'yes' if folder else 'no':4}  {_millions(entry.parameters):>10}  {entry.dim:5}  "
              f"{entry.preprocessing.size:6}  {spoken:9}  {entry.licence}")
    return 0


def _show(name: str, as_json: bool) -> int:
    from diptych.core.config import to_dict, to_json

    entry, folder = _one(name)
    if as_json:
        json.dump({**to_dict(entry), **_summary(entry, folder)}, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return 0
    print(f"{entry.name}\n  where       {folder or f'not here: diptych models pull {entry.name}'}")
    for weights in entry.weights:
        print(f"  published   {weights.repo or weights.url} ({weights.file}), {weights.layout}")
    print(f"  licence     {entry.licence}\n  parameters  {entry.parameters:,}\n  vectors     {entry.dim} numbers, "
          f"{entry.score_kind} scores{'' if entry.general else ', of a narrow domain'}")
    print(f"  languages   {' '.join(entry.languages)}")
    for part in ("towers", "preprocessing", "tokenizer", "calibration"):
        print(f"{part}: {to_json(getattr(entry, part))}", end="")
    return 0


def _pull(name: str) -> int:
    from diptych import workbench
    from diptych.models.checkpoints import fetch

    if name == workbench.BUNDLED:
        raise ValueError(f"{name} comes with Diptych, there is nothing to pull")
    print(fetch.pull(name))
    return 0


def _all() -> list[tuple["Entry", Path | None]]:
    """The catalogue, best first, then this machine's own models; each with its folder when it is here."""
    from diptych import workbench
    from diptych.core.errors import CheckpointError
    from diptych.models.checkpoints import catalog

    models = [_one(entry.name) for entry in catalog.CATALOGUE]
    for name in workbench.local_models():
        if catalog.find(name) is None:
            try:
                models.append(_one(name))
            except CheckpointError as error:  # one damaged folder does not hide the other models
                print(f"diptych: {error}", file=sys.stderr)
    return models


def _one(name: str) -> tuple["Entry", Path | None]:
    from diptych import workbench
    from diptych.models.checkpoints import catalog, fetch

    if entry := catalog.find(name):
        folder = workbench.models_folder() / entry.name
        return entry, folder if fetch.is_complete(folder) else None
    folder = workbench.model_folder(name)
    return catalog.read_native(folder), folder


def _summary(entry: "Entry", folder: Path | None) -> dict[str, object]:
    repo = entry.weights[0].repo if entry.weights else None
    return {"name": entry.name, "folder": str(folder) if folder else None, "repo": repo, "dim": entry.dim,
            "parameters": entry.parameters, "image_size": entry.preprocessing.size, "languages": entry.languages,
            "licence": entry.licence, "score_kind": entry.score_kind, "general": entry.general}


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.0f} M"
