"""A folder with a model in it, as an Embedder: our own layout, or a published model of the catalogue.

A published model's folder is one that `fetch.pull` filled (its `source.json` names the catalogue's entry), or one of
that entry's name into which somebody copied the published files.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from diptych.core.errors import CheckpointError
from diptych.core.files import sha256_bytes, sha256_file
from diptych.core.types import EmbedderSpec
from diptych.inputs.tokenizer import Tokenizer
from diptych.models.checkpoints import catalog, native
from diptych.models.checkpoints.catalog import Entry
from diptych.models.checkpoints.fetch import FILES, is_complete, read_source
from diptych.models.checkpoints.huggingface import from_huggingface
from diptych.models.embedder import TorchEmbedder
from diptych.models.two_tower import TwoTower


def load(folder: Path) -> TorchEmbedder:
    """Open a model's folder. CheckpointError says what is missing, damaged or does not fit."""
    entry = published_entry(folder)
    return native.load_model(folder) if entry is None else load_published(folder, entry)


def published_entry(folder: Path) -> Entry | None:
    """The catalogue's entry whose published files the folder holds, or None for a model in our own layout."""
    if source := read_source(folder):
        return catalog.get(source.name)
    entry, config = catalog.find(folder.name), folder / "config.json"
    if entry and config.is_file() and '"model_type"' in config.read_text(encoding="utf-8"):
        return entry  # "model_type" is how a config.json of transformers declares itself; ours has none
    return None


def load_published(folder: Path, entry: Entry) -> TorchEmbedder:
    """The published files in `folder`, read as `entry` declares them, in float32."""
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise CheckpointError(f"{folder} is not a whole {entry.name}: it lacks {', '.join(missing)}; "
                              f"get it with `diptych models pull {entry.name}`")
    digests = {name: sha256_file(folder / name) for name in FILES}
    _check_source(folder, digests)
    try:
        weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        state = from_huggingface(weights, entry.towers, entry.layout)
    except (SafetensorError, CheckpointError) as error:
        raise CheckpointError(f"{folder}/model.safetensors is not {entry.name}'s: {error}") from error
    with torch.device("meta"):  # no memory, and no random numbers, for weights that are replaced at once
        towers = TwoTower(entry.towers).requires_grad_(False)
    towers.load_state_dict(state, assign=True)
    tokenizer, bias = _tokenizer(folder / "tokenizer.json", entry), towers.logit_bias
    spec = EmbedderSpec(
        name=entry.name, fingerprint=_fingerprint(entry, digests), dim=towers.dim, image_size=entry.preprocessing.size,
        languages=entry.languages, score_kind=entry.score_kind, logit_scale=float(towers.logit_scale),
        logit_bias=0.0 if bias is None else float(bias), calibration=entry.calibration, general=entry.general,
    )
    return TorchEmbedder(towers, tokenizer, entry.preprocessing, spec)


def best_general(models: Path) -> str | None:
    """The first general model of the catalogue that lies whole in the folder `models`, or None."""
    here = (entry.name for entry in catalog.CATALOGUE if entry.general and is_complete(models / entry.name))
    return next(here, None)


def _tokenizer(path: Path, entry: Entry) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(path, entry.tokenizer)
    except Exception as error:  # `tokenizers` raises nothing more specific
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
    known = entry.towers.text.vocab_size
    if tokenizer.vocab_size > known:
        raise CheckpointError(f"{path} has {tokenizer.vocab_size} ids, {entry.name}'s text tower {known}: "
                              "it belongs to another model")
    return tokenizer


def _check_source(folder: Path, digests: dict[str, str]) -> None:
    source = read_source(folder)
    for name, digest in source.files.items() if source else ():
        if digests.get(name, digest) != digest:
            raise CheckpointError(f"{folder / name} is not the file that was pulled (its sha256 has changed); delete "
                                  f"{folder} and run `diptych models pull {folder.name}`")


def _fingerprint(entry: Entry, digests: dict[str, str]) -> str:
    """sha256 over weights, tokenizer, and what is declared of architecture, preprocessing and tokenizer policy."""
    declared = {part: _declared(getattr(entry, part)) for part in ("towers", "preprocessing", "tokenizer")}
    parts = [json.dumps(declared, sort_keys=True), digests["model.safetensors"], digests["tokenizer.json"]]
    return sha256_bytes("\n".join(parts).encode())


def _declared(record: Any) -> Any:
    """The fields that differ from their defaults: a field added later, with today's behaviour as its default, must
    not give every stored vector another fingerprint."""
    if not dataclasses.is_dataclass(record):
        return record
    values = {f.name: (getattr(record, f.name), f.default) for f in dataclasses.fields(record)}
    return {name: _declared(value) for name, (value, default) in values.items() if value != default}
