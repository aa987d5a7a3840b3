"""Which models are on this machine, and what each folder or file of weights holds.

A model is declared by one of: Diptych's own `config.json`; `source.json`, which `pull` writes; the folder's name, when
it is one of the catalogue's and one of that entry's files is in it; transformers' `config.json` or open_clip's
`open_clip_config.json`; or the caller, who says `like=` which entry of the catalogue a file is shaped as. Never by the
names of keys. torch is not imported here.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from diptych.core.config import from_dict
from diptych.core.errors import CheckpointError, ModelNotFound
from diptych.core.files import home
from diptych.inputs.tokenizer import TOKENIZER_FILES
from diptych.models.checkpoints import catalog, declared
from diptych.models.checkpoints.entry import Entry, Layout, Weights
from diptych.models.config import TextConfig

BUNDLED = "diptych-tiny"
_INDEX = ".index.json"
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")
_SAY_LIKE = ("say which model of the catalogue it is shaped as, e.g. --like ViT-B-32::laion2b_s34b_b79k "
             "(in Python like='ViT-B-32::laion2b_s34b_b79k')")


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
    files have fixed names; `tokenizer` is None when there is none. `layouts` are those to read it in, if the caller
    said what it is (`like`) and not how it lies there: the first whose keys all fit."""

    entry: Entry
    folder: Path
    weights: Weights | None
    path: Path | None
    tokenizer: Path | None
    layouts: tuple[Layout, ...] = ()

    @property
    def files(self) -> list[Path]:
        """The files with the weights: one, or an index and the shards that it names."""
        if self.path is None:
            return [self.folder / "model.safetensors"]
        if not self.path.name.endswith(_INDEX):
            return [self.path]
        return [self.path, *(self.path.with_name(name) for name in shards(self.path))]


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
    if not str(name_or_path):
        raise ModelNotFound("a model's name is empty; `diptych models list` shows those that there are")
    path = Path(name_or_path).expanduser()
    if path.is_file():
        if path.suffix not in _WEIGHTS and not path.name.endswith(_INDEX):
            raise CheckpointError(f"{path} is no file of weights: those are {', '.join(_WEIGHTS)}; name a model, a "
                                  "folder of one, or such a file")
        return _file(path.resolve(), like)
    entry = catalog.find(str(name_or_path))
    name = entry.name if entry else str(name_or_path)
    here = [folder for folder in (models_folder() / name, bundled_folder() / name) if is_model(folder)]
    # a folder of that name where one happens to stand is a model only if it holds one
    if path.is_dir() and (like or not here or path.name != str(name_or_path) or is_model(path)):
        return in_folder(path.resolve(), like)
    if here:
        return in_folder(here[0], like)
    if entry:
        raise ModelNotFound(f"{entry.name} is in the catalogue but not on this machine; get it with "
                            f"`diptych models pull {entry.name}`")
    if not path.exists() and _is_path(str(name_or_path)):
        raise ModelNotFound(f"there is no file or folder {name_or_path}")
    near = catalog.nearest(str(name_or_path), local_models())
    raise ModelNotFound(
        f"no model {str(name_or_path)!r} here; the nearest is {near!r} (there are: {', '.join(local_models())}; "
        "`diptych models list` shows what can be pulled)")


def in_folder(folder: Path, like: str | None = None) -> Found:
    """What a folder holds. CheckpointError when nothing declares it, or when a file is missing."""
    source = read_source(folder)
    entry = catalog.get(like) if like else catalog.get(source.name) if source else catalog.find(folder.name)
    tokenizer, native_ = tokenizer_in(folder), _is_native(folder)
    if entry and (like or source or not native_):
        present = [w for w in entry.weights if _part(folder, w).is_file()]
        if source:
            present.sort(key=lambda w: (w.repo or w.url) != source.repo)
        if present and (like or source or _agrees(folder, entry)):
            return Found(entry=entry, folder=folder, weights=present[0], path=_part(folder, present[0]),
                         tokenizer=tokenizer)
        if not present and (like or source):
            files = " or ".join(dict.fromkeys(w.file for w in entry.weights))
            raise CheckpointError(f"{folder} is not a whole {entry.name}: it lacks {files}; "
                                  f"get it with `diptych models pull {entry.name}`")
        if present and folder.parent == models_folder():
            raise CheckpointError(f"{folder} has the name of the catalogue's {entry.name}, and its config.json is of "
                                  "another shape; give the folder a name of its own")
    if native_:
        if missing := [name for name in ("model.safetensors", "tokenizer.json") if not (folder / name).is_file()]:
            raise CheckpointError(f"{folder} is not a whole model: it lacks {', '.join(missing)}")
        return Found(entry=catalog.read_native(folder), folder=folder, weights=None, path=None, tokenizer=tokenizer)
    if entry := declared.entry_of(folder):
        part = _part(folder, entry.weights[0])
        if not part.is_file():
            raise CheckpointError(f"{folder} declares a model and lacks its weights, {entry.weights[0].file}")
        return Found(entry=entry, folder=folder, weights=entry.weights[0], path=part, tokenizer=tokenizer)
    if (folder / "diptych.json").is_file():
        raise CheckpointError(f"{folder} holds exported towers, which other programs open; Diptych opens the model "
                              "that they were made of, and makes such files itself (`diptych models tune`, or runtime= "
                              "in Python)")
    raise CheckpointError(
        f"{folder} does not say what it holds: there is no config.json of Diptych's or transformers', no "
        f"open_clip_config.json, and its name is none of the catalogue's; {_SAY_LIKE}")


def is_model(folder: Path, entry: Entry | None = None) -> bool:
    """Whether the folder holds a model, or the `entry`: declared, with its weights and its tokenizer."""
    try:
        found = in_folder(folder) if folder.is_dir() else None
        return found is not None and found.tokenizer is not None and entry in (None, found.entry)
    except CheckpointError:  # a damaged one is still listed, so that its fault is told
        return entry is None and (folder / "config.json").is_file()


def is_complete(folder: Path, entry: Entry) -> bool:
    """Whether one of the entry's files, all of it, and a tokenizer are in `folder`."""
    return any(_whole(_part(folder, w)) for w in entry.weights) and tokenizer_in(folder) is not None


def shards(index: Path) -> list[str]:
    """The files that an index of shards names. CheckpointError when it is damaged, or names one outside its folder."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if strange := [name for name in names if Path(name).name != name]:
            raise CheckpointError(f"{index} names files outside of its folder: {', '.join(strange[:3])}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards: {error!r}") from error
    return names


def local_models() -> list[str]:
    """Names that load without a network, the bundled one last."""
    folders = models_folder().iterdir() if models_folder().is_dir() else ()
    pulled = sorted(folder.name for folder in folders if not folder.name.startswith(".") and is_model(folder))
    return [*(name for name in pulled if name != BUNDLED), BUNDLED]


def best_general() -> str | None:
    """The first general model of the catalogue that lies whole on this machine, or None."""
    general = (e for e in catalog.CATALOGUE if e.general)
    return next((e.name for e in general if is_complete(models_folder() / e.name, e) and is_model(
        models_folder() / e.name, e)), None)


def read_source(folder: Path) -> Source | None:
    """What `pull` noted beside the files, or None for files that came another way."""
    path = folder / "source.json"
    try:
        return from_dict(Source, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it, or pull the model again") from error


def tokenizer_in(folder: Path) -> Path | None:
    """The tokenizer file of a folder, or None."""
    return next((folder / name for name in TOKENIZER_FILES if (folder / name).is_file()), None)


def _file(path: Path, like: str | None) -> Found:
    folder = path.parent
    if like is None:
        try:
            found = in_folder(folder)
        except CheckpointError:
            found = None
        named = [w for w in found.entry.weights if w.file == path.name] if found else []
        if found and (found.path == path or (path == folder / "model.safetensors" and found.weights is None)):
            return found
        if found and named:
            return replace(found, weights=named[0], path=path)
        raise CheckpointError(f"{path} does not say what it holds; {_SAY_LIKE}")
    entry = catalog.get(like)
    weights = sorted(entry.weights, key=lambda w: _unlike(w, path, like))
    return Found(entry=entry, folder=folder, weights=weights[0], path=path,
                 tokenizer=tokenizer_in(folder) or _pulled_tokenizer(entry),
                 layouts=tuple(dict.fromkeys(w.layout for w in weights)))


def _pulled_tokenizer(entry: Entry) -> Path | None:
    """The tokenizer that was pulled with the entry, or with another model that prepares its texts in the same way."""
    same = (e for e in catalog.CATALOGUE if e.tokenizer == entry.tokenizer
            and e.towers.text.vocab_size == entry.towers.text.vocab_size)
    pulled = (tokenizer_in(models_folder() / e.name) for e in (entry, *same))
    return next((path for path in pulled if path), None)


def _is_path(name: str) -> bool:
    """Whether somebody who writes this means a place on the disk, and no name."""
    return name.startswith(("/", "./", "../", "~")) or name.endswith(("/", *_WEIGHTS))


def _unlike(weights: Weights, path: Path, like: str) -> tuple[bool, bool, bool]:
    """Sorts the entry's files by how likely `path` is laid out as they are: of the same name, of open_clip where the
    caller used its name for the model or the file is a training run's, of the same kind."""
    trained = "::" in like or path.suffix in (".pt", ".pth", ".ckpt")
    return (weights.file != path.name, trained and not weights.layout.startswith("open_clip"),
            Path(weights.file).suffix != path.suffix)


def _agrees(folder: Path, entry: Entry) -> bool:
    """Whether the configuration in a folder that has an entry's name, if there is any, is of the entry's shape."""
    own = declared.entry_of(folder)
    if own is None:
        return True
    images = (own.towers.image, entry.towers.image)
    texts = [replace(t, pad_id=0, eos_id=1) if isinstance(t, TextConfig) else t
             for t in (own.towers.text, entry.towers.text)]
    return images[0] == images[1] and texts[0] == texts[1]


def _is_native(folder: Path) -> bool:
    config = folder / "config.json"
    try:
        return config.is_file() and "model_type" not in json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        return True  # which one it was is told when it is read


def _whole(path: Path) -> bool:
    """Whether a file of weights is as long as its header says; every shard of an index."""
    if path.name.endswith(_INDEX):
        return path.is_file() and all(_whole(path.with_name(name)) for name in shards(path))
    if path.suffix != ".safetensors" or not path.is_file():
        return path.is_file()
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length < path.stat().st_size:
            return False
        try:
            header = json.loads(stream.read(length))
            ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return path.stat().st_size == 8 + length + max(ends, default=0)


def _part(folder: Path, weights: Weights) -> Path:
    whole, index = folder / weights.file, folder / f"{weights.file}{_INDEX}"
    return whole if whole.is_file() or not index.is_file() else index
