"""Which models are on this machine, and what each folder or file of weights holds.

A model is declared by one of: Diptych's own `config.json`; `source.json`, which `pull` writes; the folder's name, when
it is one of the catalogue's and one of that entry's files is in it; transformers' `config.json` or open_clip's
`open_clip_config.json`; or the caller, who says `like=` which entry of the catalogue a file is shaped as. Never by the
names of keys. torch is not imported here.
"""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from diptych.core.config import from_dict
from diptych.core.errors import CheckpointError, ModelNotFound
from diptych.core.files import home
from diptych.inputs.tokenizer import TOKENIZER_FILES
from diptych.models.checkpoints import catalog, declared
from diptych.models.checkpoints.catalog import Entry, Weights

BUNDLED = "diptych-tiny"


@dataclass(frozen=True, kw_only=True)
class Source:
    """`source.json`: which catalogue entry a folder holds, from which commit, and each file's sha256."""

    name: str
    repo: str
    revision: str
    files: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model on this machine: what it is, and its files. `path` is None for a model in our own layout, whose three
    files have fixed names; `tokenizer` is None when there is none."""

    entry: Entry
    folder: Path
    weights: Weights | None
    path: Path | None
    tokenizer: Path | None


def models_folder() -> Path:
    """Where pulled models live: one folder a model."""
    return home() / "models"


def bundled_folder() -> Path:
    """Where the models that come with the package live."""
    return Path(__file__).parent.parent / "bundled"


def find(name_or_path: str | Path, like: str | None = None) -> Found:
    """The model of a name, a folder or a file of weights. `like` names the catalogue's entry of which it has the shape.

    ModelNotFound names the nearest, or how to pull it; CheckpointError says which file a folder lacks.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return _file(path, like)
    if path.is_dir():
        return in_folder(path, like)
    entry = catalog.find(str(name_or_path))
    name = entry.name if entry else str(name_or_path)
    for folder in (models_folder() / name, bundled_folder() / name):
        if is_model(folder):
            return in_folder(folder, like)
    if entry:
        raise ModelNotFound(f"{entry.name} is in the catalogue but not on this machine; get it with "
                            f"`diptych models pull {entry.name}`")
    known = [*local_models(), *(e.name for e in catalog.CATALOGUE)]
    near = difflib.get_close_matches(str(name_or_path), known, n=1, cutoff=0.0)
    raise ModelNotFound(
        f"no model {str(name_or_path)!r} here; the nearest is {near[0]!r} (there are: {', '.join(local_models())}; "
        "`diptych models list` shows what can be pulled)")


def in_folder(folder: Path, like: str | None = None) -> Found:
    """What a folder holds. CheckpointError when nothing declares it, or when a file is missing."""
    source = read_source(folder)
    entry = catalog.get(like) if like else catalog.get(source.name) if source else catalog.find(folder.name)
    if entry and (like or source or not _is_native(folder)):
        present = [w for w in entry.weights if _part(folder, w).is_file()]
        if source:
            present.sort(key=lambda w: (w.repo or w.url) != source.repo)
        if present:
            return Found(entry=entry, folder=folder, weights=present[0], path=_part(folder, present[0]),
                         tokenizer=tokenizer_in(folder))
        if like or source:
            files = " or ".join(dict.fromkeys(w.file for w in entry.weights))
            raise CheckpointError(f"{folder} is not a whole {entry.name}: it lacks {files}; "
                                  f"get it with `diptych models pull {entry.name}`")
    if _is_native(folder):
        if missing := [name for name in ("model.safetensors", "tokenizer.json") if not (folder / name).is_file()]:
            raise CheckpointError(f"{folder} is not a whole model: it lacks {', '.join(missing)}")
        return Found(entry=catalog.read_native(folder), folder=folder, weights=None, path=None,
                     tokenizer=tokenizer_in(folder))
    if entry := declared.entry_of(folder):
        part = _part(folder, entry.weights[0])
        if not part.is_file():
            raise CheckpointError(f"{folder} declares a model and lacks its weights, {entry.weights[0].file}")
        return Found(entry=entry, folder=folder, weights=entry.weights[0], path=part, tokenizer=tokenizer_in(folder))
    raise CheckpointError(
        f"{folder} does not say what it holds: there is no config.json of Diptych's or transformers', no "
        "open_clip_config.json, and its name is none of the catalogue's; say which model it is shaped as, e.g. "
        "like='ViT-B-32::laion2b_s34b_b79k'")


def is_model(folder: Path) -> bool:
    """Whether the folder holds a model: declared, with its weights and its tokenizer."""
    try:
        return in_folder(folder).tokenizer is not None if folder.is_dir() else False
    except CheckpointError:
        return (folder / "config.json").is_file()  # a damaged one is still listed, so that its fault is told


def is_complete(folder: Path, entry: Entry) -> bool:
    """Whether one of the entry's files and a tokenizer are in `folder`."""
    return any(_part(folder, w).is_file() for w in entry.weights) and tokenizer_in(folder) is not None


def local_models() -> list[str]:
    """Names that load without a network, the bundled one last."""
    folders = models_folder().iterdir() if models_folder().is_dir() else ()
    pulled = sorted(folder.name for folder in folders if not folder.name.startswith(".") and is_model(folder))
    return [*(name for name in pulled if name != BUNDLED), BUNDLED]


def best_general() -> str | None:
    """The first general model of the catalogue that lies whole on this machine, or None."""
    here = (e.name for e in catalog.CATALOGUE if e.general and is_complete(models_folder() / e.name, e))
    return next(here, None)


def read_source(folder: Path) -> Source | None:
    """What `pull` noted beside the files, or None for files that came another way."""
    path = folder / "source.json"
    return from_dict(Source, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def tokenizer_in(folder: Path) -> Path | None:
    """The tokenizer file of a folder, or None."""
    return next((folder / name for name in TOKENIZER_FILES if (folder / name).is_file()), None)


def _file(path: Path, like: str | None) -> Found:
    if like is None:
        found = in_folder(path.parent)
        if found.path == path:
            return found
        raise CheckpointError(f"{path} does not say what it holds; say which model of the catalogue it is shaped as, "
                              "e.g. like='ViT-B-32::laion2b_s34b_b79k'")
    entry = catalog.get(like)
    same_kind = [w for w in entry.weights if Path(w.file).suffix == path.suffix] or list(entry.weights)
    beside = tokenizer_in(path.parent)
    return Found(entry=entry, folder=path.parent, weights=same_kind[0], path=path,
                 tokenizer=beside or tokenizer_in(models_folder() / entry.name))


def _is_native(folder: Path) -> bool:
    config = folder / "config.json"
    return config.is_file() and '"model_type"' not in config.read_text(encoding="utf-8")


def _part(folder: Path, weights: Weights) -> Path:
    whole, index = folder / weights.file, folder / f"{weights.file}.index.json"
    return whole if whole.is_file() or not index.is_file() else index
