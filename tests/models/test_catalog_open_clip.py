"""The catalogue against open_clip 3.3.0: its table of weights and its configurations, read here a second time.

Where the two differ on purpose, the difference stands below, with its reason in the catalogue's comments.
"""

import dataclasses
import functools
import json
from pathlib import Path

import pytest
import torch
from reference import open_clip

from diptych.inputs.tokenizer import TokenizerPolicy
from diptych.models.checkpoints import catalog, layouts
from diptych.models.config import FastVitConfig, mci
from diptych.models.two_tower import TwoTower

OPEN_CLIP = open_clip()
TABLE = {(arch, tag): about for arch, tags in OPEN_CLIP.pretrained._PRETRAINED.items() for tag, about in tags.items()}
LEFT_OUT = [(arch, tag) for arch, tag in TABLE
            if arch.startswith(("convnext", "ViTamin")) or tag in ("yfcc15m", "cc12m")]
TAGS = [known for known in TABLE if known not in LEFT_OUT]
each = pytest.mark.parametrize(("arch", "tag"), TAGS, ids=["::".join(known) for known in TAGS])

SIGLIP = ("SigLIP", "SigLIP 2")
PLAIN_GELU = [("ViT-B-16", "dfn2b"), ("ViT-B-16-quickgelu", "dfn2b")]
"""What open_clip 3 runs with QuickGELU, against those who trained it."""

TOKENIZERS = {
    "bert-base-uncased": ("whitespace", 0, 0, 101),
    "facebook/xlm-v-base": ("none", 1, 2, 0),
    "roberta-base": ("whitespace", 1, 2, 0),
    "xlm-roberta-base": ("whitespace", 1, 2, 0),
    "xlm-roberta-large": ("whitespace", 1, 2, 0),
    "facebook/nllb-200-distilled-600M": ("whitespace", 1, 2, 256_047),
    "facebook/nllb-200-distilled-1.3B": ("whitespace", 1, 2, 256_047),
}
"""Cleaning, pad, end, beginning. Of the last two the first token is the language, English's."""

TRANSFORMERS = {
    "roberta-base": ("roberta", 50_265, 768, {"num_hidden_layers": 12, "num_attention_heads": 12}),
    "xlm-roberta-base": ("xlm-roberta", 250_002, 768, {"num_hidden_layers": 12, "num_attention_heads": 12}),
    "xlm-roberta-large": ("xlm-roberta", 250_002, 1024, {"num_hidden_layers": 24, "num_attention_heads": 16}),
    "facebook/nllb-200-distilled-600M": ("m2m_100", 256_206, 1024, {"encoder_layers": 12, "encoder_ffn_dim": 4096}),
    "facebook/nllb-200-distilled-1.3B": ("m2m_100", 256_206, 1024, {"encoder_layers": 24, "encoder_ffn_dim": 8192}),
}


@functools.cache
def config(arch: str) -> dict:
    path = Path(OPEN_CLIP.__file__).parent / "model_configs" / f"{arch}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@functools.cache
def timm_tower(arch: str) -> torch.nn.Module:
    """open_clip's own picture tower, with timm's trunk in it."""
    cfg = config(arch)
    vision = OPEN_CLIP.CLIPVisionCfg(**cfg["vision_cfg"])
    with torch.device("meta"):
        return OPEN_CLIP.model._build_vision_tower(cfg["embed_dim"], vision, False)


def activation(quick: bool, kwargs: dict | None) -> str:
    return "quick_gelu" if quick else "gelu_tanh" if (kwargs or {}).get("approximate") == "tanh" else "gelu"


def own_picture_tower(cfg: dict, quick: bool) -> dict:
    vision = OPEN_CLIP.CLIPVisionCfg(**cfg["vision_cfg"])
    if isinstance(vision.layers, list):
        return {"kind": "resnet", "image_size": vision.image_size, "layers": tuple(vision.layers),
                "width": vision.width, "heads": vision.width * 32 // vision.head_width, "projection": cfg["embed_dim"]}
    return {"kind": "vit", "image_size": vision.image_size, "patch_size": vision.patch_size, "width": vision.width,
            "layers": vision.layers, "heads": vision.width // vision.head_width,
            "mlp_width": int(vision.width * vision.mlp_ratio), "activation": activation(quick, vision.act_kwargs),
            "pool": "query" if vision.attentional_pool else {"tok": "cls", "avg": "mean"}[vision.pool_type],
            "has_cls": True, "norm_after_pool": vision.final_ln_after_pool, "pre_norm": not vision.no_ln_pre,
            "patch_bias": False, "projection": cfg["embed_dim"], "projection_bias": False, "norm_eps": 1e-5,
            **({"queries": vision.attn_pooler_queries, "query_heads": vision.attn_pooler_heads}
               if vision.attentional_pool else {})}


def timms_picture_tower(arch: str) -> dict:
    tower = timm_tower(arch)
    trunk, block = tower.trunk, tower.trunk.blocks[0]
    eva, identity, mlp = type(trunk).__name__ == "Eva", torch.nn.Identity, block.mlp
    swiglu = hasattr(mlp, "fc1_g")
    head = trunk.head if isinstance(trunk.head, torch.nn.Linear) else None
    mapped = trunk.attn_pool is not None
    found = {"kind": "eva" if eva else "vit", "image_size": tower.image_size[0], "width": trunk.embed_dim,
             "layers": len(trunk.blocks), "heads": block.attn.num_heads,
             "mlp_width": (mlp.fc1_g if swiglu else mlp.fc1).out_features, "pool": "map" if mapped else "cls",
             "projection": head.out_features if head else None,
             "pre_norm": not isinstance(trunk.norm_pre, identity), "norm_eps": block.norm1.eps}
    if not swiglu:
        found["activation"] = {"GELU": "gelu", "GELUTanh": "gelu_tanh"}[type(mlp.act).__name__]
    if type(trunk.patch_embed).__name__ == "HybridEmbed":
        return found | {"stem": "conv", "patch_size": 16, "projection_bias": head is not None}
    found |= {"patch_size": trunk.patch_embed.patch_size[0]}
    if not eva:
        return found | {"has_cls": trunk.cls_token is not None, "patch_bias": trunk.patch_embed.proj.bias is not None,
                        "projection_bias": head is not None}
    assert head and head.bias is not None
    return found | {"rope": trunk.rope is not None, "swiglu": swiglu, "cls_token": trunk.cls_token is not None,
                    "inner_norm": not isinstance(block.attn.norm, identity),
                    "post_norm": type(block).__name__ == "EvaBlockPostNorm",
                    "key_bias": block.attn.qkv is not None and block.attn.qkv.bias is not None,
                    **({"pool_heads": trunk.attn_pool.num_heads} if mapped else {})}


def text_tower(cfg: dict, quick: bool) -> dict:
    text = OPEN_CLIP.CLIPTextCfg(**cfg["text_cfg"])
    embed = cfg["embed_dim"]
    if text.hf_model_name:
        kind, vocab_size, width, settings = TRANSFORMERS[text.hf_model_name]
        return {"kind": "transformers", "model_type": kind, "vocab_size": vocab_size, "width": width,
                "settings": settings, "pool": {"mean_pooler": "mean", "cls_pooler": "cls"}[text.hf_pooler_type],
                "projection": embed, "projection_hidden": (width + embed) // 2 if text.hf_proj_type == "mlp" else None}
    pool = "cls" if text.embed_cls else text.pool_type
    return {"vocab_size": text.vocab_size, "context_length": text.context_length, "width": text.width,
            "layers": text.layers, "heads": text.heads, "mlp_width": int(text.width * text.mlp_ratio),
            "activation": activation(quick, text.act_kwargs), "causal": not text.no_causal_mask, "mask_padding": False,
            "pool": pool, "projection": None if text.proj_type == "none" else embed,
            "projection_bias": text.proj_bias, "norm_eps": (text.norm_kwargs or {}).get("eps", 1e-5),
            **({"eos_id": text.eos_id} if pool == "eos" else {})}


def stated(ours: object, names: dict) -> dict:
    """The same fields of ours; of settings those that the oracle states."""
    found = {name: getattr(ours, name) for name in names}
    if "settings" in names:
        found["settings"] = {name: found["settings"].get(name) for name in names["settings"]}
    return found


def test_every_tag_of_open_clips_is_known_but_convnext_vitamin_and_models_of_small_data():
    assert [f"{arch}::{tag}" for arch, tag in TABLE if catalog.find(f"{arch}::{tag}") is None] == [
        f"{arch}::{tag}" for arch, tag in LEFT_OUT]
    known = {alias.casefold() for entry in catalog.CATALOGUE for alias in entry.aliases if "::" in alias}
    beyond = known - {f"{arch}::{tag}".casefold() for arch, tag in TABLE}
    assert beyond == {"vit-b-16-siglip2-naflex::webli", "vit-so400m-16-siglip2-naflex::webli"}  # of its next version


@each
def test_towers_are_open_clips(arch, tag):
    towers, cfg, entry = catalog.get(f"{arch}::{tag}").towers, config(arch), catalog.get(f"{arch}::{tag}")
    # the tag's own word, and not the configuration's: `ViT-B-32::openai` was trained with QuickGELU as well
    quick = bool(TABLE[arch, tag].get("quick_gelu")) and (arch, tag) not in PLAIN_GELU
    quick |= arch == "roberta-ViT-B-32"  # says so itself
    text = text_tower(cfg, quick)
    name = cfg["vision_cfg"].get("timm_model_name", "")
    if name.startswith("fastvit_mci"):
        assert towers.image == dataclasses.replace(mci(int(name[-1]), cfg["embed_dim"]),
                                                   image_size=cfg["vision_cfg"]["image_size"])
        assert isinstance(towers.image, FastVitConfig)
    else:
        image = timms_picture_tower(arch) if name else own_picture_tower(cfg, quick)
        if entry.family in SIGLIP:  # trained in JAX, with the tanh approximation, wherever open_clip has erf
            assert {image["activation"], text["activation"]} <= {"gelu", "gelu_tanh"}
            image["activation"] = text["activation"] = "gelu_tanh"
        assert stated(towers.image, image) == image
    assert stated(towers.text, text) == text
    assert towers.init_logit_bias == cfg.get("init_logit_bias")
    assert (entry.score_kind == "sigmoid") == (cfg.get("init_logit_bias") is not None)


@each
def test_pixels_are_open_clips(arch, tag):
    entry, about = catalog.get(f"{arch}::{tag}"), TABLE[arch, tag]
    ours = entry.preprocessing
    assert ours.size == entry.towers.image.image_size
    assert {"shortest": "shortest_crop", "squash": "squash"}[about["resize_mode"]] == ours.policy
    assert (tuple(about["mean"]), tuple(about["std"])) == (ours.mean, ours.std)
    assert ours.interpolation == ("bilinear" if entry.family == "SigLIP 2" else about["interpolation"])


@each
def test_tokens_are_open_clips(arch, tag):
    entry, text = catalog.get(f"{arch}::{tag}"), config(arch)["text_cfg"]
    name, length = text.get("hf_tokenizer_name"), text.get("context_length", 77)
    if entry.family == "SigLIP 2":  # lower case, as in JAX; open_clip also takes the punctuation away
        usual = ("lower", 0, 1, None)
    elif entry.family == "SigLIP":
        usual = ("siglip", 1, 1, None)
    else:
        usual = TOKENIZERS[name] if name else ("clip", 0, 49_407, 49_406)
    cleaning, pad_id, eos_id, bos_id = usual
    assert entry.tokenizer == TokenizerPolicy(length=length, cleaning=cleaning, pad_id=pad_id, eos_id=eos_id,
                                              bos_id=bos_id)


@each
def test_files_are_open_clips(arch, tag):
    entry, about = catalog.get(f"{arch}::{tag}"), TABLE[arch, tag]
    repos, urls = {w.repo for w in entry.weights}, {w.url for w in entry.weights}
    repo = about["hf_hub"].rstrip("/")
    if (arch, tag) == ("ViT-B-16-plus-240", "laion400m_e32"):
        assert repo.endswith("e31"), "open_clip has corrected its table: take the exception out"
        repo = repo.replace("e31", "e32")
    assert not repo or repo in repos
    assert not about["url"] or about["url"] in urls
    layout = entry.weights[0].layout
    if not layout.startswith("huggingface"):
        cfg = config(arch)
        custom = cfg.get("custom_text") or "hf_model_name" in cfg["text_cfg"]
        timm = "timm_model_name" in cfg["vision_cfg"]
        assert layout == ("open_clip_timm" if timm else "open_clip_custom" if custom else "open_clip")


@pytest.mark.parametrize(("arch", "tag"), [
    ("RN50", "openai"), ("ViT-B-16-plus-240", "laion400m_e32"), ("ViT-L-14", "laion2b_s32b_b82k"),
    ("ViT-L-14-CLIPA-336", "datacomp1b"), ("coca_ViT-B-32", "laion2b_s13b_b90k"), ("ViT-B-16-SigLIP", "webli"),
    ("ViT-B-16-SigLIP2-512", "webli"), ("ViT-SO400M-16-SigLIP-i18n-256", "webli"),
    ("EVA01-g-14", "laion400m_s11b_b41k"), ("EVA02-B-16", "merged2b_s8b_b131k"), ("PE-Core-T-16-384", "meta"),
    ("MobileCLIP-B", "datacompdr"), ("ViT-H-14-worldwide-378", "metaclip2_worldwide"),
    ("ViT-H-14-378-quickgelu", "dfn5b"),
])
def test_the_file_that_open_clip_opens_fits_the_entry(arch, tag):
    """Every key that open_clip's model has is read, and fills all of ours."""
    entry, cfg = catalog.get(f"{arch}::{tag}"), dict(config(arch))
    custom = cfg.pop("custom_text", False)
    kind = OPEN_CLIP.CoCa if "coca" in arch else OPEN_CLIP.CustomTextCLIP if custom else OPEN_CLIP.CLIP
    with torch.device("meta"):
        theirs, ours = kind(**cfg).state_dict(), TwoTower(entry.towers).state_dict()
    (layout,) = {weights.layout for weights in entry.weights if weights.layout.startswith("open_clip")}
    read = layouts.read(theirs, entry.towers, layout)
    assert {name: tensor.shape for name, tensor in read.items()} == {n: tensor.shape for n, tensor in ours.items()}
