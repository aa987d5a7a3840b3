"""Models that declare themselves, by transformers' `config.json` or open_clip's `open_clip_config.json`, as records of
the catalogue.

Any CLIP, MetaCLIP 2, SigLIP or SigLIP 2 that `save_pretrained` has written opens with it, and what open_clip pushes to
a hub: a fine-tuned model, say. Fields that transformers' file leaves out have its own defaults. The processor's and the
tokenizer's files beside it say the rest; where there are none, the family's usual choice holds. torch is not imported
here.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diptych.core.errors import CheckpointError
from diptych.inputs.image import Preprocessing
from diptych.inputs.naflex import NaflexPreprocessing
from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.checkpoints.catalog import Entry, Layout, Weights, count_parameters
from diptych.models.checkpoints.open_clip_config import from_model_cfg
from diptych.models.config import Activation, NaflexConfig, TextConfig, TwoTowerConfig, VitConfig

CLEANING = "diptych_cleaning"
"""The field of tokenizer_config.json in which we write a cleaning that is not the family's own."""

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh", "quick_gelu": "quick_gelu"}
_RESAMPLING: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
_RESIZING: dict[str, Literal["shortest_crop", "squash", "pad"]] = {
    "shortest": "shortest_crop", "squash": "squash", "longest": "pad"}
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)

_CLIP_TEXT = {"vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
              "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
              "layer_norm_eps": 1e-5, "eos_token_id": 49407}
_CLIP_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
_SIGLIP_TEXT = {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                "num_attention_heads": 12, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh",
                "layer_norm_eps": 1e-6}
_SIGLIP_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                  "image_size": 224, "patch_size": 16, "num_patches": 256, "hidden_act": "gelu_pytorch_tanh",
                  "layer_norm_eps": 1e-6}


def entry_of(folder: Path) -> Entry | None:
    """The record of the model that a file in `folder` declares; None when none of a known family does.

    CheckpointError when the file is damaged, or asks for what we do not have.
    """
    if (folder / "open_clip_config.json").is_file():
        return _open_clip(folder, _read(folder / "open_clip_config.json"))
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = _read(path)
    match config.get("model_type"):
        case "clip" | "metaclip_2":
            return _clip(folder, config)
        case "siglip" | "siglip2":
            return _siglip(folder, config)
        case _:
            return None


def _clip(folder: Path, config: Mapping[str, Any]) -> Entry:
    text, vision = _CLIP_TEXT | config.get("text_config", {}), _CLIP_VISION | config.get("vision_config", {})
    width = config.get("projection_dim", 512)
    worldwide = config["model_type"] == "metaclip_2"
    # 2 in a CLIP config is a mistake of old files: such models take the highest id, as OpenAI's do
    pool = "argmax" if text["eos_token_id"] == 2 and not worldwide else "eos"
    usual = ("none", 1, 2, 0) if worldwide else ("clip", 0, 49_407, 49_406)
    policy = _policy(folder, text["max_position_embeddings"], *usual)
    if pool == "eos":  # the tower looks for this one, whatever the tokenizer's files call the end
        policy = replace(policy, eos_id=text["eos_token_id"])
    towers = TwoTowerConfig(
        image=VitConfig(
            image_size=vision["image_size"], patch_size=vision["patch_size"], pool="cls", pre_norm=True,
            patch_bias=False, projection=width, **_sizes(vision)),
        text=TextConfig(
            vocab_size=text["vocab_size"], context_length=text["max_position_embeddings"], causal=True, pool=pool,
            pad_id=policy.pad_id, eos_id=policy.eos_id, projection=width, projection_bias=False, **_sizes(text)),
        init_logit_scale=1 / 0.07, init_logit_bias=None)
    return _entry(folder, "MetaCLIP 2" if worldwide else "CLIP", "huggingface_clip", towers, policy,
                  _preprocessing(folder, "shortest_crop", "bicubic", vision["image_size"], _CLIP_MEAN, _CLIP_STD))


def _siglip(folder: Path, config: Mapping[str, Any]) -> Entry:
    text, vision = _SIGLIP_TEXT | config.get("text_config", {}), _SIGLIP_VISION | config.get("vision_config", {})
    naflex = config["model_type"] == "siglip2"  # SigLIP 2's fixed resolutions are stored as the first SigLIP
    # Gemma's vocabulary is SigLIP 2's: pad 0, no cleaning but lower case
    policy = _policy(folder, text["max_position_embeddings"],
                     *(("lower", 0, 1, None) if naflex or text["vocab_size"] == 256_000 else ("siglip", 1, 1, None)))
    projection = text.get("projection_size") or text["hidden_size"]
    towers = TwoTowerConfig(
        image=NaflexConfig(patch_size=vision["patch_size"], grid=round(vision["num_patches"] ** 0.5),
                           max_patches=vision["num_patches"], **_sizes(vision)) if naflex else
        VitConfig(image_size=vision["image_size"], patch_size=vision["patch_size"], **_sizes(vision)),
        text=TextConfig(
            vocab_size=text["vocab_size"], context_length=text["max_position_embeddings"], pad_id=policy.pad_id,
            eos_id=policy.eos_id, projection=projection, **_sizes(text)))
    if naflex:
        preprocessing = _naflex(folder, vision["patch_size"], vision["num_patches"])
        return _entry(folder, "SigLIP 2", "huggingface_siglip2", towers, policy, preprocessing)
    return _entry(folder, "SigLIP", "huggingface_siglip", towers, policy,
                  _preprocessing(folder, "squash", "bicubic", vision["image_size"], _HALF, _HALF))


def _open_clip(folder: Path, config: Mapping[str, Any]) -> Entry:
    try:
        towers, about = from_model_cfg(config["model_cfg"]), config.get("preprocess_cfg", {})
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/open_clip_config.json is damaged or of another version: {error!r}") from error
    text = config["model_cfg"]["text_cfg"]
    siglip = towers.init_logit_bias is not None
    usual = ("siglip", 1, 1, None) if siglip else ("clip", 0, 49_407, 49_406)
    if text.get("hf_tokenizer_name") and not siglip:
        usual = ("none", 1, 2, 0)  # MetaCLIP 2's XLM-V
    elif siglip and text.get("vocab_size") == 256_000:
        usual = ("siglip", 0, 1, None)  # open_clip strips punctuation for Gemma's vocabulary too
    policy = _policy(folder, towers.text.context_length, *usual)
    towers = replace(towers, text=replace(towers.text, pad_id=policy.pad_id, eos_id=policy.eos_id or 0))
    weights = Path("open_clip_model.safetensors")
    if not (folder / weights).is_file() and (folder / "open_clip_pytorch_model.bin").is_file():
        weights = Path("open_clip_pytorch_model.bin")
    custom = config["model_cfg"].get("custom_text") or "hf_model_name" in text
    timm = "timm_model_name" in config["model_cfg"]["vision_cfg"]
    layout = "open_clip_timm" if timm else "open_clip_custom" if custom else "open_clip"
    how = _RESIZING[about.get("resize_mode", "shortest")]
    preprocessing = NaflexPreprocessing() if isinstance(towers.image, NaflexConfig) else Preprocessing(
        size=towers.image.image_size, policy=how, interpolation=about.get("interpolation", "bicubic"),
        mean=tuple(about.get("mean", _CLIP_MEAN)), std=tuple(about.get("std", _CLIP_STD)),
        pad_colour=(about.get("fill_color", 0),) * 3)
    return _entry(folder, "OpenCLIP", layout, towers, policy, preprocessing, str(weights))


def _entry(folder: Path, family: str, layout: Layout, towers: TwoTowerConfig, policy: TokenizerPolicy,
           preprocessing: Preprocessing | NaflexPreprocessing, file: str = "model.safetensors") -> Entry:
    softmax, path = towers.init_logit_bias is None, folder / file
    return Entry(
        name=folder.name, family=family, weights=(Weights(layout=layout, file=file),), licence="not stated",
        languages=("en",), parameters=count_parameters(path) if path.suffix == ".safetensors" and path.is_file() else 0,
        towers=towers, preprocessing=preprocessing, tokenizer=policy,
        score_kind="softmax" if softmax else "sigmoid")


def _sizes(tower: Mapping[str, Any]) -> dict[str, Any]:
    act = tower["hidden_act"]
    if act not in _ACTIVATIONS:
        raise CheckpointError(f"config.json asks for the activation {act!r}; known are {', '.join(_ACTIVATIONS)}")
    return {"width": tower["hidden_size"], "layers": tower["num_hidden_layers"], "heads": tower["num_attention_heads"],
            "mlp_width": tower["intermediate_size"], "activation": _ACTIVATIONS[act],
            "norm_eps": tower["layer_norm_eps"]}


def _policy(folder: Path, length: int, cleaning: Any, pad: int, eos: int, bos: int | None) -> TokenizerPolicy:
    """The family's policy with the special tokens that tokenizer_config.json names, by their ids in tokenizer.json."""
    about, file = _optional(folder / "tokenizer_config.json"), folder / "tokenizer.json"
    cleaning = about.get(CLEANING, cleaning)
    if about and file.is_file():
        ids = {token["content"]: token["id"] for token in _read(file).get("added_tokens", [])}
        named = {part: _content(about.get(f"{part}_token")) for part in ("pad", "eos", "bos")}
        pad, eos = ids.get(named["pad"], pad), ids.get(named["eos"], eos)
        bos = ids.get(named["bos"], bos) if bos is not None else None
    return TokenizerPolicy(length=length, cleaning=cleaning, pad_id=pad, eos_id=eos, bos_id=bos)


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _preprocessing(
    folder: Path, policy: Literal["squash", "shortest_crop"], interpolation: Literal["bilinear", "bicubic"], size: int,
    mean: tuple[float, float, float], std: tuple[float, float, float],
) -> Preprocessing:
    about = _optional(folder / "preprocessor_config.json")
    stated = about.get("size", {})
    if about.get("do_center_crop") or (isinstance(stated, dict) and "shortest_edge" in stated):
        policy = "shortest_crop"
    elif isinstance(stated, dict) and "height" in stated:
        policy = "squash"
    return Preprocessing(
        size=size, policy=policy, interpolation=_RESAMPLING.get(about.get("resample", -1), interpolation),
        mean=tuple(about.get("image_mean", mean)), std=tuple(about.get("image_std", std)))


def _naflex(folder: Path, patch_size: int, patches: int) -> NaflexPreprocessing:
    about = _optional(folder / "preprocessor_config.json")
    return NaflexPreprocessing(
        patch_size=about.get("patch_size", patch_size), max_patches=about.get("max_num_patches", patches),
        interpolation=_RESAMPLING.get(about.get("resample", 2), "bilinear"),
        mean=tuple(about.get("image_mean", _HALF)), std=tuple(about.get("image_std", _HALF)))


def _optional(path: Path) -> dict[str, Any]:
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
