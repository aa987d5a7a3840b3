"""The CLIPs that open_clip's authors trained: on LAION-400M and LAION-2B, on DataComp and on CommonPool.

arXiv 2212.07143 (LAION), 2304.14108 (DataComp and CommonPool, whose medium and small models are here for research on
data, not for use: they recognise little). All MIT, all English.
"""

from typing import Literal

from diptych.inputs.image import Preprocessing
from diptych.models.checkpoints.entry import Entry, Score, Weights
from diptych.models.checkpoints.published.clip import (
    B16,
    B16_PLUS,
    B32,
    B32_256,
    BIG_G14,
    CLIP_TOKENIZER,
    CLIP_TOKENS,
    CUTOFF,
    G14,
    H14,
    HALF,
    L14,
    Size,
    at_url,
    both_names,
    clip_pixels,
    measured,
    open_clip_files,
)
from diptych.models.config import Activation

_RELEASE = "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights"


def _entry(name: str, size: Size, aliases: tuple[str, ...], weights: tuple[Weights, ...], results: tuple[Score, ...],
           activation: Activation = "gelu", preprocessing: Preprocessing | None = None) -> Entry:
    return Entry(
        name=name, family="OpenCLIP", licence="MIT", languages=("en",), parameters=size.parameters, weights=weights,
        aliases=aliases, towers=size.towers(activation),
        preprocessing=preprocessing or clip_pixels(size.image.image_size), tokenizer=CLIP_TOKENS,
        tokenizer_repo=CLIP_TOKENIZER, score_kind="softmax", calibration=CUTOFF, scores=results)


def _laion(name: str, size: Size, alias: str, *results: float, first: Literal["safetensors", "bin"] = "bin",
           preprocessing: Preprocessing | None = None) -> Entry:
    """A repository of LAION's. `results`: ImageNet, the 38 sets, Flickr30k and COCO."""
    return _entry(name, size, (alias,), open_clip_files(f"laion/{name}", first=first), measured(*results),
                  preprocessing=preprocessing)


def _released(name: str, size: Size, arch: str, tag: str, file: str, *results: float, quick: bool = False) -> Entry:
    """Weights of open_clip's release 0.2, of which timm has a copy on the hub."""
    mirror = Weights(layout="open_clip", repo=f"timm/{name}", file="open_clip_model.safetensors")
    return _entry(name, size, both_names(arch, tag) if quick else (f"{arch}::{tag}",),
                  (mirror, at_url(f"{_RELEASE}/{file}", "open_clip")), measured(*results),
                  "quick_gelu" if quick else "gelu")


def _large(pool: str, tag: str, *results: float) -> Entry:
    return _laion(f"CLIP-ViT-B-16-{pool}-s1B-b8K", B16, f"ViT-B-16::{tag}_s1b_b8k", *results)


def _medium(pool: str, tag: str, *results: float) -> Entry:
    return _laion(f"CLIP-ViT-B-32-{pool}-s128M-b4K", B32, f"ViT-B-32::{tag}_s128m_b4k", *results)


def _small(pool: str, tag: str, *results: float) -> Entry:
    return _laion(f"CLIP-ViT-B-32-{pool}-s13M-b4K", B32, f"ViT-B-32::{tag}_s13m_b4k", *results)


LAION = (
    _laion("CLIP-ViT-bigG-14-laion2B-39B-b160k", BIG_G14, "ViT-bigG-14::laion2b_s39b_b160k",
           80.09, 66.67, 79.56, 51.37),
    _laion("CLIP-ViT-g-14-laion2B-s34B-b88K", G14, "ViT-g-14::laion2b_s34b_b88k", 78.47, 64.27, 77.72, 48.78),
    _laion("CLIP-ViT-g-14-laion2B-s12B-b42K", G14, "ViT-g-14::laion2b_s12b_b42k", 76.63, 62.99, 76.42, 48.02),
    _laion("CLIP-ViT-H-14-laion2B-s32B-b79K", H14, "ViT-H-14::laion2b_s32b_b79k", 77.96, 64.19, 77.64, 49.48,
           first="safetensors"),
    # the one that was trained on pixels from -1 to 1
    _laion("CLIP-ViT-L-14-laion2B-s32B-b82K", L14, "ViT-L-14::laion2b_s32b_b82k", 75.25, 62.05, 75.52, 46.51,
           preprocessing=Preprocessing(size=224, policy="shortest_crop", interpolation="bicubic", mean=HALF, std=HALF)),
    _laion("CLIP-ViT-B-16-laion2B-s34B-b88K", B16, "ViT-B-16::laion2b_s34b_b88k", 70.23, 58.66, 69.84, 42.31),
    _laion("CLIP-ViT-B-32-laion2B-s34B-b79K", B32, "ViT-B-32::laion2b_s34b_b79k", 66.56, 56.94, 66.78, 39.34,
           first="safetensors"),
    _released("vit_base_patch32_clip_224.laion2b_e16", B32, "ViT-B-32", "laion2b_e16",
              "vit_b_32-laion2b_e16-af8dbd0c.pth", 65.65, 54.83, 66.38, 39.13),
    _released("vit_large_patch14_clip_224.laion400m_e32", L14, "ViT-L-14", "laion400m_e32",
              "vit_l_14-laion400m_e32-3d133497.pt", 72.77, 59.71, 70.22, 43.0),
    _released("vit_large_patch14_clip_224.laion400m_e31", L14, "ViT-L-14", "laion400m_e31",
              "vit_l_14-laion400m_e31-69988bb6.pt", 72.71, 59.64, 70.5, 42.84),
    # open_clip's table sends epoch 32 to epoch 31's copy on the hub; this one is by its own name
    _released("vit_base_patch16_plus_clip_240.laion400m_e32", B16_PLUS, "ViT-B-16-plus-240", "laion400m_e32",
              "vit_b_16_plus_240-laion400m_e32-699c4b84.pt", 69.19, 57.24, 68.1, 41.0),
    _released("vit_base_patch16_plus_clip_240.laion400m_e31", B16_PLUS, "ViT-B-16-plus-240", "laion400m_e31",
              "vit_b_16_plus_240-laion400m_e31-8fb26589.pt", 69.04, 57.13, 67.9, 40.75),
    _released("vit_base_patch16_clip_224.laion400m_e32", B16, "ViT-B-16", "laion400m_e32",
              "vit_b_16-laion400m_e32-55e67d44.pt", 67.05, 56.21, 65.66, 38.35),
    _released("vit_base_patch16_clip_224.laion400m_e31", B16, "ViT-B-16", "laion400m_e31",
              "vit_b_16-laion400m_e31-00efa78f.pt", 66.98, 56.17, 65.72, 38.34),
    _released("vit_base_patch32_clip_224.laion400m_e32", B32, "ViT-B-32", "laion400m_e32",
              "vit_b_32-quickgelu-laion400m_e32-46683a32.pt", 62.93, 52.72, 61.7, 35.33, quick=True),
    _released("vit_base_patch32_clip_224.laion400m_e31", B32, "ViT-B-32", "laion400m_e31",
              "vit_b_32-quickgelu-laion400m_e31-d867053b.pt", 62.94, 52.63, 61.74, 35.35, quick=True),
)

DATACOMP = (
    _laion("CLIP-ViT-L-14-DataComp.XL-s13B-b90K", L14, "ViT-L-14::datacomp_xl_s13b_b90k", 79.21, 66.27, 73.38, 45.73),
    _laion("CLIP-ViT-B-16-DataComp.XL-s13B-b90K", B16, "ViT-B-16::datacomp_xl_s13b_b90k", 73.49, 61.47, 67.56, 40.16),
    _laion("CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", B32_256, "ViT-B-32-256::datacomp_s34b_b86k",
           72.81, 60.87, 64.92, 39.93),
    _laion("CLIP-ViT-B-32-DataComp.XL-s13B-b90K", B32, "ViT-B-32::datacomp_xl_s13b_b90k", 69.17, 57.95, 61.08, 37.14),
    _laion("CLIP-ViT-L-14-CommonPool.XL.clip-s13B-b90K", L14, "ViT-L-14::commonpool_xl_clip_s13b_b90k",
           76.37, 65.01, 68.86, 42.73),
    _laion("CLIP-ViT-L-14-CommonPool.XL.laion-s13B-b90K", L14, "ViT-L-14::commonpool_xl_laion_s13b_b90k",
           75.45, 63.6, 74.9, 46.77),
    _laion("CLIP-ViT-L-14-CommonPool.XL-s13B-b90K", L14, "ViT-L-14::commonpool_xl_s13b_b90k",
           72.29, 62.07, 64.78, 38.59),
    _large("DataComp.L", "datacomp_l", 63.1, 53.72, 55.36, 32.18),
    _large("CommonPool.L.clip", "commonpool_l_clip", 57.77, 52.94, 51.02, 28.8),
    _large("CommonPool.L.image", "commonpool_l_image", 57.19, 48.12, 51.62, 29.07),
    _large("CommonPool.L.text", "commonpool_l_text", 56.05, 47.6, 53.36, 30.2),
    _large("CommonPool.L.laion", "commonpool_l_laion", 55.26, 50.11, 56.64, 31.95),
    _large("CommonPool.L.basic", "commonpool_l_basic", 51.55, 45.85, 52.5, 28.62),
    _large("CommonPool.L", "commonpool_l", 45.93, 43.7, 41.86, 22.24),
    _medium("DataComp.M", "datacomp_m", 29.72, 32.81, 18.12, 11.0),
    _medium("CommonPool.M.clip", "commonpool_m_clip", 27.25, 32.78, 18.9, 11.27),
    _medium("CommonPool.M.image", "commonpool_m_image", 26.78, 31.18, 18.96, 10.54),
    _medium("CommonPool.M.text", "commonpool_m_text", 25.48, 30.66, 18.72, 10.86),
    _medium("CommonPool.M.laion", "commonpool_m_laion", 23.04, 29.19, 17.92, 10.52),
    _medium("CommonPool.M.basic", "commonpool_m_basic", 22.55, 28.49, 18.74, 10.07),
    _medium("CommonPool.M", "commonpool_m", 17.55, 25.8, 12.68, 7.01),
    _small("CommonPool.S.clip", "commonpool_s_clip", 5.05, 17.31, 2.86, 1.57),
    _small("CommonPool.S.text", "commonpool_s_text", 4.6, 15.73, 2.78, 1.7),
    _small("DataComp.S", "datacomp_s", 3.92, 14.49, 1.42, 1.09),
    _small("CommonPool.S.image", "commonpool_s_image", 3.92, 14.49, 1.42, 1.09),
    _small("CommonPool.S.basic", "commonpool_s_basic", 3.77, 14.23, 2.56, 1.44),
    _small("CommonPool.S.laion", "commonpool_s_laion", 3.05, 13.32, 1.76, 1.02),
    _small("CommonPool.S", "commonpool_s", 2.7, 14.2, 2.14, 0.88),
)
