"""open_clip's `model_cfg`, as it stands in its model_configs and in `open_clip_config.json`, to our configuration and
back.

Read as open_clip itself reads it, activations included: a SigLIP tower of timm's that has erf-GELU there has it here,
although the weights were trained with tanh-GELU in JAX (the catalogue says so for the published ones). Towers of timm's
are known by their names, which a file must have for open_clip to open it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from diptych.core.errors import CheckpointError
from diptych.models.config import (
    Activation,
    EvaConfig,
    FastVitConfig,
    ImageConfig,
    NaflexConfig,
    ResNetConfig,
    TextConfig,
    TransformersTextConfig,
    TwoTowerConfig,
    VitConfig,
    mci,
)

_SIGLIP = re.compile(r"vit_(base|large|so400m|giantopt)_patch(\d+)_siglip_(\d+)")
_SIZES = {"base": (768, 12, 12, 3072), "large": (1024, 24, 16, 4096), "so400m": (1152, 27, 16, 4304),
          "giantopt": (1536, 40, 16, 6144)}
_ERF = {"vit_base_patch16_siglip", "vit_large_patch16_siglip_256", "vit_large_patch16_siglip_384",
        "vit_so400m_patch14_siglip"}
"""Beginnings of the names of SigLIP towers that timm gives erf-GELU; the others have tanh-GELU."""

_EVA = {
    "eva_giant_patch14_224": EvaConfig(
        patch_size=14, width=1408, layers=40, heads=16, mlp_width=6144, rope=False, swiglu=False, inner_norm=False),
    "eva02_base_patch16_clip_224": EvaConfig(),
    "eva02_large_patch14_clip_224": EvaConfig(patch_size=14, width=1024, layers=24, heads=16, mlp_width=2730),
    "eva02_large_patch14_clip_336": EvaConfig(
        image_size=336, patch_size=14, width=1024, layers=24, heads=16, mlp_width=2730),
    "eva02_enormous_patch14_clip_224": EvaConfig(
        patch_size=14, width=1792, layers=64, heads=16, mlp_width=15_360, rope=False, swiglu=False, inner_norm=False,
        post_norm=True),
}
_PE = EvaConfig(pool="map", swiglu=False, inner_norm=False, pre_norm=True, key_bias=True, rope_order="xy",
                rope_offset=1.0, norm_eps=1e-5, mlp_width=3072, rope_grid=14)
_EVA |= {
    "vit_pe_core_tiny_patch16_384": replace(_PE, image_size=384, width=192, heads=3, mlp_width=768, rope_grid=24),
    "vit_pe_core_small_patch16_384": replace(_PE, image_size=384, width=384, heads=6, mlp_width=1536, rope_grid=24),
    "vit_pe_core_base_patch16_224": _PE,
    "vit_pe_core_large_patch14_336": replace(
        _PE, image_size=336, patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, rope_grid=24),
    "vit_pe_core_gigantic_patch14_448": replace(
        _PE, image_size=448, patch_size=14, width=1536, layers=50, heads=16, mlp_width=8960, rope_grid=32,
        rope_offset=0.0, cls_token=False),
}
_CLIP_TIMM = {
    "vit_base_mci_224": VitConfig(pool="cls", stem="conv", activation="gelu", projection_bias=True),
    "vit_large_patch14_clip_224": VitConfig(
        patch_size=14, width=1024, layers=24, heads=16, mlp_width=4096, pool="cls", activation="gelu", pre_norm=True,
        patch_bias=False, projection_bias=True, norm_eps=1e-5),
}
_FASTVIT = {f"fastvit_mci{size}": mci(size, 512) for size in (0, 1, 2, 3, 4)}
_NAFLEX = {"naflexvit_base_patch16_siglip": NaflexConfig(),
           "naflexvit_so400m_patch16_siglip": NaflexConfig(width=1152, layers=27, heads=16, mlp_width=4304)}


def from_model_cfg(cfg: Mapping[str, Any]) -> TwoTowerConfig:
    """The towers that open_clip builds from this `model_cfg`. CheckpointError when it asks for what we have not."""
    quick, dim = bool(cfg.get("quick_gelu")), int(cfg["embed_dim"])
    bias = cfg.get("init_logit_bias")
    return TwoTowerConfig(
        image=_image(cfg["vision_cfg"], dim, quick), text=_text(cfg["text_cfg"], dim, quick),
        init_logit_scale=10.0 if bias is not None else 1 / 0.07, init_logit_bias=None if bias is None else float(bias))


def to_model_cfg(towers: TwoTowerConfig) -> dict[str, Any]:
    """The `model_cfg` from which open_clip builds these towers. ValueError when it cannot."""
    image, text = towers.image, towers.text
    if not isinstance(text, TextConfig):
        raise ValueError("a text tower of transformers is not written as open_clip's")
    quick = text.activation == "quick_gelu"
    cfg: dict[str, Any] = {"embed_dim": text.projection or text.width, "text_cfg": _text_cfg(text),
                           "vision_cfg": _vision_cfg(image)}
    if quick:
        cfg["quick_gelu"] = True
    if towers.init_logit_bias is not None:
        cfg["init_logit_bias"] = towers.init_logit_bias
    if "timm_model_name" in cfg["vision_cfg"]:
        cfg["custom_text"] = True
    there = from_model_cfg(cfg)
    assert isinstance(there.text, TextConfig)
    # what decides no vector: where training began, and special tokens that the tower does not look at
    eos = there.text.eos_id if text.pool == "eos" else text.eos_id
    if replace(there, init_logit_scale=towers.init_logit_scale,
               text=replace(there.text, pad_id=text.pad_id, eos_id=eos)) != towers:
        raise ValueError("open_clip has no configuration for these towers (it builds SigLIP's, EVA's and MobileCLIP's "
                         "only in the published sizes); write them as transformers' (--to hf) or in our own layout")
    return cfg


def timm_tower(name: str, dim: int) -> ImageConfig:
    """The tower that timm has under that name, with `dim` outputs. CheckpointError when it is none of ours."""
    if match := _SIGLIP.fullmatch(name):
        width, layers, heads, mlp_width = _SIZES[match[1]]
        erf = any(name.startswith(beginning) for beginning in _ERF)
        return VitConfig(image_size=int(match[3]), patch_size=int(match[2]), width=width, layers=layers, heads=heads,
                         mlp_width=mlp_width, activation="gelu" if erf else "gelu_tanh")
    if name in _NAFLEX:
        return _NAFLEX[name]
    known = _EVA | _CLIP_TIMM | _FASTVIT
    if name not in known:
        raise CheckpointError(f"open_clip_config.json asks for timm's {name!r}, a tower that Diptych does not have")
    return replace(known[name], projection=dim)


def _image(vision: Mapping[str, Any], dim: int, quick: bool) -> ImageConfig:
    if name := vision.get("timm_model_name"):
        tower = timm_tower(name, dim)
        size = vision.get("image_size", tower.image_size)
        return tower if isinstance(tower, NaflexConfig) else replace(tower, image_size=size)
    if isinstance(vision["layers"], list | tuple):
        first, second, third, fourth = vision["layers"]
        return ResNetConfig(
            image_size=vision.get("image_size", 224), layers=(first, second, third, fourth), width=vision["width"],
            heads=vision["width"] * 32 // vision.get("head_width", 64), projection=dim)
    width = vision.get("width", 768)
    pools: dict[str, Literal["cls", "mean"]] = {"tok": "cls", "avg": "mean"}
    pool = "query" if vision.get("attentional_pool") else pools[vision.get("pool_type", "tok")]
    return VitConfig(
        image_size=vision.get("image_size", 224), patch_size=vision.get("patch_size", 16), width=width,
        layers=vision.get("layers", 12), heads=width // vision.get("head_width", 64),
        mlp_width=int(width * vision.get("mlp_ratio", 4.0)), pool=pool, cls_token=True if pool == "mean" else None,
        norm_after_pool=bool(vision.get("final_ln_after_pool")), activation=_activation(vision, quick),
        pre_norm=not vision.get("no_ln_pre"), patch_bias=False, projection=dim,
        norm_eps=(vision.get("norm_kwargs") or {}).get("eps", 1e-5), queries=vision.get("attn_pooler_queries", 256),
        query_heads=vision.get("attn_pooler_heads", 8))


def _text(text: Mapping[str, Any], dim: int, quick: bool) -> TextConfig | TransformersTextConfig:
    if name := text.get("hf_model_name"):
        raise CheckpointError(f"open_clip_config.json asks for the text tower {name!r}; open it with like= one of the "
                              "catalogue's models of that tower")
    width = text.get("width", 512)
    pool = "cls" if text.get("embed_cls") else text.get("pool_type", "argmax")
    if pool not in ("cls", "argmax", "eos", "last"):
        raise CheckpointError(f"open_clip_config.json asks for the text pooling {pool!r}, which Diptych does not have")
    length = text.get("context_length", 77)
    return TextConfig(
        vocab_size=text.get("vocab_size", 49_408), context_length=length, width=width, layers=text.get("layers", 12),
        heads=text.get("heads", 8), mlp_width=int(width * text.get("mlp_ratio", 4.0)),
        activation=_activation(text, quick), causal=not text.get("no_causal_mask"), pool=pool,
        pad_id=text.get("pad_id", 0), eos_id=text.get("eos_id", 2) if pool == "eos" else 49_407,
        projection=None if text.get("proj_type") == "none" else dim, projection_bias=bool(text.get("proj_bias")),
        norm_eps=(text.get("norm_kwargs") or {}).get("eps", 1e-5))


def _activation(tower: Mapping[str, Any], quick: bool) -> Activation:
    if quick:
        return "quick_gelu"
    return "gelu_tanh" if (tower.get("act_kwargs") or {}).get("approximate") == "tanh" else "gelu"


def _vision_cfg(image: ImageConfig) -> dict[str, Any]:
    match image:
        case VitConfig(pool="query"):
            raise ValueError("open_clip opens a CoCa only with its captioning decoder, which a dual encoder has not; "
                             "write the model in our own layout")
        case VitConfig(stem="patch", patch_bias=False, projection_bias=False) if image.has_cls:
            return {
                "image_size": image.image_size, "layers": image.layers, "width": image.width,
                "head_width": image.width // image.heads, "patch_size": image.patch_size,
                "mlp_ratio": _ratio(image.mlp_width, image.width), "no_ln_pre": not image.pre_norm,
                "pool_type": "avg" if image.pool == "mean" else "tok", "final_ln_after_pool": image.norm_after_pool,
                "norm_kwargs": {"eps": image.norm_eps},
                **_act_kwargs(image.activation)}
        case ResNetConfig():
            return {"image_size": image.image_size, "layers": list(image.layers), "width": image.width,
                    "head_width": image.width * 32 // image.heads}
        case VitConfig() | EvaConfig() | FastVitConfig() | NaflexConfig():
            return {"timm_model_name": _timm_name(image), "timm_model_pretrained": False,
                    "image_size": image.image_size, "timm_pool": _timm_pool(image),
                    "timm_proj": "none" if _projects_nothing(image) else None}
    raise ValueError(f"open_clip has no {image.kind} tower; write the model in our own layout")


def _timm_name(image: VitConfig | EvaConfig | FastVitConfig | NaflexConfig) -> str:
    siglip = (f"vit_{size}_patch{patch}_siglip_{side}"
              for size in _SIZES for patch in (14, 16, 32) for side in (224, 256, 378, 384, 512))
    for name in (*_EVA, *_CLIP_TIMM, *_FASTVIT, *_NAFLEX, *siglip):
        tower = timm_tower(name, 0 if isinstance(image, NaflexConfig) else image.projection or 0)
        if isinstance(tower, FastVitConfig):  # takes any size
            tower = replace(tower, image_size=image.image_size)
        if tower == image:
            return name
    raise ValueError(f"timm, in which open_clip has its {image.kind} towers without a class token of its own, has none "
                     "of these sizes; write the model as transformers' (--to hf) or in our own layout")


def _timm_pool(image: VitConfig | EvaConfig | FastVitConfig | NaflexConfig) -> str:
    match image:
        case FastVitConfig():
            return "avg"
        case NaflexConfig() | VitConfig(pool="map") | EvaConfig(pool="map"):
            return "map"
        case _:
            return "token"


def _projects_nothing(image: ImageConfig) -> bool:
    return isinstance(image, NaflexConfig) or image.projection is None


def _text_cfg(text: TextConfig) -> dict[str, Any]:
    if text.mask_padding or text.pool == "mean":
        raise ValueError("open_clip has no text tower that masks its padding; write the model in our own layout")
    cfg: dict[str, Any] = {
        "context_length": text.context_length, "vocab_size": text.vocab_size, "width": text.width, "heads": text.heads,
        "layers": text.layers, "mlp_ratio": _ratio(text.mlp_width, text.width), "no_causal_mask": not text.causal,
        "proj_bias": text.projection_bias, "norm_kwargs": {"eps": text.norm_eps}, "pad_id": text.pad_id,
        **_act_kwargs(text.activation)}
    if text.pool == "cls":
        cfg["embed_cls"] = True
    else:
        cfg |= {"pool_type": text.pool, "eos_id": text.eos_id}
    if text.projection is None:
        cfg["proj_type"] = "none"
    return cfg


def _act_kwargs(activation: Activation) -> dict[str, Any]:
    return {"act_kwargs": {"approximate": "tanh"}} if activation == "gelu_tanh" else {}


def _ratio(mlp_width: int, width: int) -> float:
    """A ratio that open_clip's int(width · ratio) takes back to the width of the MLP."""
    return mlp_width / width if int(width * (mlp_width / width)) == mlp_width else (mlp_width + 0.5) / width
