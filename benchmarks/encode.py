"""How fast ViT-B/16 at 224 pixels encodes: our runtimes, transformers, open_clip and torch.compile on the same weights.

    python benchmarks/encode.py                  # SigLIP-like: MAP pooling, tanh-GELU, texts of 64 ids
    python benchmarks/encode.py --family clip    # class token, QuickGELU, causal texts of 77 ids
    python benchmarks/encode.py --naflex         # pictures of mixed aspect ratios, packed against padded
    python benchmarks/encode.py --device cuda    # bfloat16 by torch and torch.compile against open_clip's on the GPU

Random weights in one process; the sides take turns, and each number is a median over the rounds, each ratio one over
transformers' float32 in the same round. "Of the product": the share of what this processor reaches in one large matrix
product of that type, in batches of 8; operations are counted by torch. Cosines are the worst of 32 with transformers'
float32. Texts are computed at full length, as the other libraries do it, but in the line that says otherwise.
"""

import argparse
import copy
import functools
import gc
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "models"))  # reference.py imports open_clip

from diptych.inputs.naflex import NaflexPreprocessing, pack
from diptych.models.candidate import EXPORTED, Candidate, Model, image_features, text_features
from diptych.models.checkpoints import layouts
from diptych.models.choice import drawn
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.engine import image_block
from diptych.models.int8 import Int8Linear, supported
from diptych.models.lengths import cut, visible_lengths
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.packed import PackedLinear
from diptych.models.packed import pack as packed
from diptych.models.two_tower import TwoTower

Encode = Callable[[np.ndarray], np.ndarray]

SIZE = 224
OURS = [Candidate(runtime, precision) for runtime, precisions in (
    ("torch", ("fp32", "bf16", "int8")), ("compiled", ("fp32", "bf16")), ("openvino", ("fp32", "bf16", "int8")),
    ("onnxruntime", ("fp32", "int8"))) for precision in precisions]


def config(family: str) -> TwoTowerConfig:
    """ViT-B/16 as published: google/siglip-base-patch16-224, openai/clip-vit-base-patch16."""
    if family == "siglip":
        return TwoTowerConfig(image=VitConfig(), text=TextConfig(
            vocab_size=32000, context_length=64, projection=768, pad_id=1))
    shared = {"activation": "quick_gelu", "norm_eps": 1e-5, "projection": 512}
    return TwoTowerConfig(
        image=VitConfig(pool="cls", pre_norm=True, patch_bias=False, **shared),
        text=TextConfig(vocab_size=49408, context_length=77, width=512, heads=8, mlp_width=2048, causal=True,
                        pool="argmax", eos_id=49407, projection_bias=False, **shared),
        init_logit_bias=None)


def transformers_model(towers: TwoTower, family: str) -> torch.nn.Module:
    """The same weights in transformers' model, with its default attention (SDPA)."""
    if family == "siglip":
        from transformers.models.siglip.configuration_siglip import SiglipConfig
        from transformers.models.siglip.modeling_siglip import SiglipModel
        model = SiglipModel(SiglipConfig())
    else:
        from transformers.models.clip.configuration_clip import CLIPConfig
        from transformers.models.clip.modeling_clip import CLIPModel
        model = CLIPModel(CLIPConfig(vision_config={"patch_size": 16}, text_config={"eos_token_id": 2}))
    layout = "huggingface_siglip" if family == "siglip" else "huggingface_clip"
    model.load_state_dict(layouts.write(towers.state_dict(), towers.config, layout), strict=False)
    return model.eval().requires_grad_(False)


def open_clip_model(towers: TwoTower, family: str) -> torch.nn.Module:
    """The same weights in open_clip's model; its erf-GELUs are set to tanh for SigLIP, as its authors have them."""
    from reference import open_clip

    name, layout = ("ViT-B-16-SigLIP", "open_clip_timm") if family == "siglip" else ("ViT-B-16-quickgelu", "open_clip")
    model = open_clip().create_model(name, pretrained=None)
    model.load_state_dict(layouts.write(towers.state_dict(), towers.config, layout), strict=False)
    for module in model.modules():
        if isinstance(module, torch.nn.GELU):
            module.approximate = "tanh"
    return model.eval().requires_grad_(False)


def sides(part: str, towers: TwoTower, others: dict[str, torch.nn.Module], family: str, device: str,
          skipped: tuple[str, ...]) -> dict[str, Encode]:
    """Every implementation of one tower, "image" or "text", by its name."""
    found: dict[str, Encode] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for library, model in others.items():
            copied = (model if precision == "fp32" else copy.deepcopy(model).to(dtype)).to(device)
            if library == "transformers":
                function = copied.get_image_features if part == "image" else copied.get_text_features
                features = functools.partial(_pooled, function)
            else:
                features = copied.encode_image if part == "image" else copied.encode_text
                if device != "cpu":
                    found[f"{library} {precision} compiled"] = on_arrays(torch.compile(features), dtype, device)
            found[f"{library} {precision}"] = on_arrays(features, dtype, device)
    model = Model(towers, family.ljust(64, "-"), torch.device(device))
    for candidate in OURS:
        runtime, precision = candidate
        if runtime in skipped or (device != "cpu" and (runtime in EXPORTED or precision == "int8")):
            continue
        features = (image_features if part == "image" else text_features)(model, candidate)
        found[f"ours, {candidate}"] = functools.partial(
            in_blocks, features, image_block(model.device) if part == "image" else 64)
        if part == "text" and candidate == ("torch", "bf16") and towers.config.text.causal:
            found["ours, cut to length, bf16"] = functools.partial(as_long_as_they_are, features, towers.config.text)
    return found


def as_long_as_they_are(features: Encode, config: TextConfig, ids: np.ndarray) -> np.ndarray:
    """Features of texts, cut as an Embedder cuts them; the longest of these has 21 ids."""
    return features(cut(ids, int(visible_lengths(ids, config).max())))


def _pooled(function: Callable, inputs: torch.Tensor) -> torch.Tensor:
    return function(inputs).pooler_output


def on_arrays(features: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, device: str) -> Encode:
    """Another library's function."""

    def encode(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tensor = torch.from_numpy(inputs).to(device)
            return features(tensor.to(dtype) if tensor.is_floating_point() else tensor).float().cpu().numpy()

    return encode


def in_blocks(features: Encode, block: int, inputs: np.ndarray) -> np.ndarray:
    """As an Embedder calls an engine."""
    return np.concatenate([features(inputs[i : i + block]) for i in range(0, len(inputs), block)])


def matrix_products(device: str) -> tuple[dict[str, Callable[[], object]], float]:
    """One large product for each type, by the best kernel that torch has for it, weights packed beforehand; and the
    GFLOP of it."""
    n = 2048 if device == "cpu" else 8192
    x, linear = torch.randn(n, n, device=device), torch.nn.Linear(n, n, bias=False, device=device).requires_grad_(False)
    half, half_linear = x.bfloat16(), copy.deepcopy(linear).bfloat16()
    if device != "cpu":
        single, double = (functools.partial(_waited, *pair) for pair in ((linear, x), (half_linear, half)))
        return {"fp32": single, "bf16": double}, 2 * n**3 / 1e9
    single, double = (PackedLinear(linear.weight, None, t, narrow=True) for t in (torch.float32, torch.bfloat16))
    products = {"fp32": lambda: single(x), "bf16": lambda: double(half)}
    if supported():
        eighth, bytes_ = Int8Linear(linear), torch.randint(0, 255, (n, n), dtype=torch.uint8)
        products["int8"] = functools.partial(
            torch.ops.onednn.qlinear_pointwise, bytes_, 1.0, 0, eighth.kernel, eighth.scales, eighth.zeros, None, 1.0,
            0, torch.float32, "none", [], "")
    return products, 2 * n**3 / 1e9


def _waited(linear: torch.nn.Module, x: torch.Tensor) -> float:
    return linear(x)[0, 0].item()


def operations(module: torch.nn.Module, inputs: torch.Tensor) -> float:
    """GFLOP of one input, a multiply-add counted as two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(inputs)
    return counter.get_total_flops() / len(inputs) / 1e9


def rounds(jobs: dict[str, Callable[[], object]], count: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each job in each round, in which all take their turn."""
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(count + warm):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if number >= warm:
                spent[name].append(time.perf_counter() - start)
    return spent


def ratio(base: list[float], values: list[float]) -> float:
    """How many times as fast, the median over the rounds."""
    return statistics.median(b / v for b, v in zip(base, values, strict=True))


def pictures(count: int) -> np.ndarray:
    """Normalised pixels of drawn pictures [count, 3, 224, 224], each a little different."""
    rng = np.random.default_rng(0)
    four = [np.asarray(picture, np.float32).transpose(2, 0, 1) / 127.5 - 1 for picture in drawn(SIZE)]
    made = [np.roll(four[i % 4], rng.integers(0, SIZE, 2), (1, 2)) + rng.normal(0, 0.05, (3, SIZE, SIZE))
            for i in range(count)]
    return np.stack(made).clip(-1, 1).astype(np.float32)


def captions(count: int, text: TextConfig) -> np.ndarray:
    """Ids of texts of 5 to 20 tokens, padded to the full length."""
    rng, ids = np.random.default_rng(0), np.full((count, text.context_length), text.pad_id, np.int64)
    for row in ids:
        length = rng.integers(5, 21)
        row[:length] = rng.integers(1000, 30000, length)
        row[length] = text.eos_id
    return ids


def worst_cosine(vectors: np.ndarray, reference: np.ndarray) -> float:
    a, b = (v.astype(np.float64) / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, reference))
    return float((a * b).sum(axis=1).min())


def towers_benchmark(family: str, device: str, count: int, skipped: tuple[str, ...]) -> None:
    towers = TwoTower(config(family)).eval().requires_grad_(False)
    others = {"transformers": transformers_model(towers, family)}
    if "open_clip" not in skipped:
        others["open_clip"] = open_clip_model(towers, family)
    products, product_gflop = matrix_products(device)
    for part, inputs in (("image", pictures(32)), ("text", captions(32, towers.config.text))):
        # texts are not compiled: pictures have said what there is to say, and it takes half a minute each
        encoders = sides(part, towers, others, family, device, skipped if part == "image" else (*skipped, "compiled"))
        reference = encoders["transformers fp32"](inputs)
        gflop = operations(getattr(towers, part), torch.from_numpy(inputs[:1]))
        print(f"\n{family}, {part}: {gflop:.1f} GFLOP each")
        spent = {}
        for n, repeats, warm in ((1, 2 * count, True), (8, count, True), (32, max(2, count - 1), False)):
            jobs = {name: functools.partial(encode, inputs[:n]) for name, encode in encoders.items()}
            spent[n] = rounds(jobs | {f"product {kind}": product for kind, product in products.items()}, repeats, warm)
        rates = {kind: product_gflop / statistics.median(s for n in spent for s in spent[n][f"product {kind}"])
                 for kind in products}
        print("one large product: " + ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in rates.items()))
        print(f"{'':26}" + "".join(f"{f'batch {n}':>15}" for n in spent) + "   of the product   1 − cosine")
        for name, encode in encoders.items():
            kind = next(k for k in ("int8", "bf16", "fp32") if k in name)
            share = statistics.median(
                (8 * gflop / s) / (product_gflop / p)
                for s, p in zip(spent[8][name], spent[8][f"product {kind}"], strict=True))
            cells = "".join(
                f"{n / statistics.median(took[name]):7.1f}/s ×{ratio(took['transformers fp32'], took[name]):4.2f}"
                for n, took in spent.items())
            print(f"{name:26}{cells}   {share:14.0%}   {1 - worst_cosine(encode(inputs), reference):10.0e}", flush=True)
        del encoders
        gc.collect()


def naflex_benchmark(count: int) -> None:
    """Useful tokens a second: packed patches against every row padded to the longest, which transformers does."""
    from PIL import Image
    from transformers.models.siglip2.configuration_siglip2 import Siglip2VisionConfig
    from transformers.models.siglip2.modeling_siglip2 import Siglip2VisionModel

    sizes = [(640, 480), (480, 640), (1000, 250), (300, 300), (2000, 200), (64, 64), (720, 1280), (90, 40)] * 2
    noise = np.random.default_rng(0)
    images = [Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    tower = NaflexVit(NaflexConfig()).eval().requires_grad_(False)
    theirs = Siglip2VisionModel(Siglip2VisionConfig()).eval().requires_grad_(False)
    # small pictures are not enlarged, as a service would have them: half of the batch has a quarter of the budget
    batches = [pack([image], NaflexPreprocessing(max_patches=256 if i % 2 else 64)) for i, image in enumerate(images)]
    grids = np.concatenate([b.grids for b in batches])
    lengths = grids.prod(axis=1)
    patches = torch.from_numpy(np.concatenate([b.patches for b in batches]))
    together = PackedPatches(patches, torch.from_numpy(grids))
    rows = torch.zeros(len(batches), int(lengths.max()), patches.shape[1])
    mask = torch.zeros(rows.shape[:2], dtype=torch.int32)
    for i, batch in enumerate(batches):
        rows[i, : lengths[i]], mask[i, : lengths[i]] = torch.from_numpy(batch.patches), 1

    shapes = together.grids

    def padded(model: torch.nn.Module, dtype: torch.dtype) -> Callable[[], object]:
        return lambda: model(pixel_values=rows.to(dtype), pixel_attention_mask=mask, spatial_shapes=shapes)

    half = copy.deepcopy(theirs).bfloat16()
    jobs = {"transformers, padded, fp32": padded(theirs, torch.float32),
            "transformers, padded, bf16": padded(half, torch.bfloat16)}
    for precision in ("fp32", "bf16", "int8"):
        jobs[f"ours, packed, torch {precision}"] = functools.partial(packed(tower, precision), together)
    with torch.inference_mode():
        spent = rounds(jobs, count)
    total, base = int(lengths.sum()), spent["transformers, padded, fp32"]
    print(f"\nNaFlex B/16: {len(batches)} pictures, {total} useful tokens of {rows.shape[0] * rows.shape[1]} padded")
    for name, values in spent.items():
        print(f"{name:28}{total / statistics.median(values):9.0f} useful tokens/s  ×{ratio(base, values):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["siglip", "clip"], default="siglip")
    parser.add_argument("--naflex", action="store_true", help="only the native-aspect tower")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="for batches of 8; twice as many for single ones")
    parser.add_argument("--without", nargs="*", default=[],
                        choices=["compiled", "open_clip", "openvino", "onnxruntime"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.device}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIPTYCH_HOME"] = home
        if args.naflex:
            naflex_benchmark(args.rounds)
        else:
            towers_benchmark(args.family, args.device, args.rounds, tuple(args.without))


if __name__ == "__main__":
    main()
