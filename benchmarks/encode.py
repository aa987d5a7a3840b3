"""How fast ViT-B/16 at 224 pixels encodes: our runtimes, transformers, open_clip and torch.compile on the same weights.

    python benchmarks/encode.py                  # SigLIP-like: MAP pooling, tanh-GELU, texts of 64 ids
    python benchmarks/encode.py --family clip    # class token, QuickGELU, causal texts of 77 ids
    python benchmarks/encode.py --naflex         # pictures of mixed aspect ratios, packed against padded
    python benchmarks/encode.py --device cuda    # bfloat16 by torch and torch.compile against open_clip's on the GPU

Random weights in one process; the sides take turns, and each number is a median over the rounds. "of the machine" is
the share of what this processor reaches in one large matrix product of that type, measured in the same rounds; a
picture's operations are counted by torch. Cosines are the worst of 32 with transformers' (float32).
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

from diptych.core.types import EmbedderSpec
from diptych.inputs.naflex import NaflexPreprocessing, pack
from diptych.models.candidate import Candidate, Model, open_engine
from diptych.models.checkpoints import layouts
from diptych.models.choice import drawn
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.embedder import TorchEmbedder
from diptych.models.int8 import Int8Linear
from diptych.models.naflex import NaflexVit, PackedPatches
from diptych.models.packed import PackedLinear, pack as packed
from diptych.models.two_tower import TwoTower

Side = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]

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


def side(image: Callable, text: Callable, dtype: torch.dtype, device: str) -> Side:
    """Another library's two functions on arrays."""

    def encode(function: Callable, inputs: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return function(inputs).float().cpu().numpy()

    return (lambda pixels: encode(image, torch.from_numpy(pixels).to(device, dtype)),
            lambda ids: encode(text, torch.from_numpy(ids).to(device)))


def sides(towers: TwoTower, family: str, device: str, quick: bool) -> dict[str, Side]:
    """Every implementation by its name."""
    theirs, other = transformers_model(towers, family), open_clip_model(towers, family)
    found: dict[str, Side] = {}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (m if precision == "fp32" else copy.deepcopy(m).to(dtype) for m in (theirs, other))
        a, b = a.to(device), b.to(device)
        found[f"transformers {precision}"] = side(
            lambda x, m=a: m.get_image_features(pixel_values=x).pooler_output,
            lambda i, m=a: m.get_text_features(input_ids=i).pooler_output, dtype, device)
        found[f"open_clip {precision}"] = side(b.encode_image, b.encode_text, dtype, device)
        if device != "cpu":
            found[f"open_clip {precision} compiled"] = side(
                torch.compile(b.encode_image), torch.compile(b.encode_text), dtype, device)
    spec = EmbedderSpec(name=family, fingerprint=family.ljust(64, "-"), dim=towers.dim, image_size=SIZE, languages=(),
                        score_kind="sigmoid", logit_scale=1.0, logit_bias=0.0)
    for candidate in OURS:
        runtime, precision = candidate
        if (device != "cpu" and (runtime not in ("torch", "compiled") or precision == "int8")) or (
                quick and runtime == "compiled"):
            continue
        engine = open_engine(Model(towers, spec.fingerprint, torch.device(device)), candidate, candidate)
        embedder = TorchEmbedder(towers, None, None, spec, engine)
        found[f"ours, {candidate}"] = (functools.partial(in_blocks, embedder), embedder.text_features)
    gc.collect()
    return found


def in_blocks(embedder: TorchEmbedder, pixels: np.ndarray) -> np.ndarray:
    """As `embed_images` cuts them."""
    block = embedder.engine.image_block
    return np.concatenate([embedder.engine.image_features(pixels[i : i + block]) for i in range(0, len(pixels), block)])


def matrix_rates(device: str) -> dict[str, Callable[[], float]]:
    """GFLOP/s of one large product for each type: the best kernel torch has for it, weights packed beforehand."""
    n = 2048 if device == "cpu" else 8192
    x, linear = torch.randn(n, n, device=device), torch.nn.Linear(n, n, bias=False, device=device).requires_grad_(False)

    def rate(product: Callable[[], object]) -> float:
        start = time.perf_counter()
        product()
        if device != "cpu":
            torch.cuda.synchronize()
        return 2 * n**3 / (time.perf_counter() - start) / 1e9

    half, half_linear = x.bfloat16(), copy.deepcopy(linear).bfloat16()
    if device != "cpu":
        return {"fp32": lambda: rate(lambda: linear(x)), "bf16": lambda: rate(lambda: half_linear(half))}
    single, double = (PackedLinear(linear.weight, None, t, narrow=True) for t in (torch.float32, torch.bfloat16))
    eighth, bytes_ = Int8Linear(linear), torch.randint(0, 255, (n, n), dtype=torch.uint8)
    integer = functools.partial(
        torch.ops.onednn.qlinear_pointwise, bytes_, 1.0, 0, eighth.kernel, eighth.scales, eighth.zeros, None, 1.0, 0,
        torch.float32, "none", [], "")
    return {"fp32": lambda: rate(lambda: single(x)), "bf16": lambda: rate(lambda: double(half)),
            "int8": lambda: rate(integer)}


def operations(module: torch.nn.Module, inputs: torch.Tensor) -> float:
    """GFLOP of one input, a multiply-add counted as two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(inputs)
    return counter.get_total_flops() / len(inputs) / 1e9


def rounds(jobs: dict[str, Callable[[], object]], seconds: float, least: int) -> dict[str, list[float]]:
    """Seconds of each job in each round; rounds go on for about so long, and there are at least so many."""
    for job in jobs.values():
        job()
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    begun = time.perf_counter()
    while len(next(iter(spent.values()))) < least or time.perf_counter() - begun < seconds:
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            spent[name].append(time.perf_counter() - start)
    return spent


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


def towers_benchmark(family: str, device: str, seconds: float, quick: bool) -> None:
    towers = TwoTower(config(family)).eval().requires_grad_(False)
    pixels, ids = pictures(32), captions(32, towers.config.text)
    gflop = (operations(towers.image, torch.from_numpy(pixels[:1])),
             operations(towers.text, torch.from_numpy(ids[:1])))
    all_sides = sides(towers, family, device, quick)
    reference = tuple(f(x) for f, x in zip(all_sides["transformers fp32"], (pixels, ids), strict=True))
    print(f"\n{family}: {gflop[0]:.1f} GFLOP a picture, {gflop[1]:.1f} a text at full length", flush=True)
    rates: dict[str, list[float]] = {}
    per_second: dict[tuple[str, str], float] = {}
    ratios: dict[tuple[str, str], float] = {}
    columns = [("1 picture", 0, pixels[:1]), ("8 pictures", 0, pixels[:8]), ("32 pictures", 0, pixels),
               ("1 text", 1, ids[:1]), ("32 texts", 1, ids)]
    for column, part, inputs in columns:
        machine = matrix_rates(device)
        jobs = {name: functools.partial(functions[part], inputs) for name, functions in all_sides.items()}
        measured = {kind: [] for kind in machine}
        jobs |= {f"rate {kind}": (lambda kind=kind, rate=rate: measured[kind].append(rate()))
                 for kind, rate in machine.items()}
        spent = rounds(jobs, seconds, 3)
        base = spent["transformers fp32"]
        for name in all_sides:
            per_second[name, column] = len(inputs) / statistics.median(spent[name])
            ratios[name, column] = statistics.median(b / s for b, s in zip(base, spent[name], strict=True))
        for kind, values in measured.items():
            rates.setdefault(kind, []).extend(values[1:])
    best = {kind: statistics.median(values) for kind, values in rates.items()}
    print("machine, one large product: " + ", ".join(f"{kind} {rate:.0f} GFLOP/s" for kind, rate in best.items()))
    print(f"\n{'':28}" + "".join(f"{column:>14}" for column, _, _ in columns) + "   of the machine   1 − cosine")
    for name, functions in all_sides.items():
        kind = next(k for k in ("int8", "bf16", "fp32") if k in name)
        share = per_second[name, "8 pictures"] * gflop[0] / best[kind]
        error = tuple(1 - worst_cosine(f(x), r) for f, x, r in zip(functions, (pixels, ids), reference, strict=True))
        cells = "".join(f"{per_second[name, c]:7.1f} ×{ratios[name, c]:4.2f} " for c, _, _ in columns)
        print(f"{name:28}{cells}   {share:10.0%}        {error[0]:.0e} {error[1]:.0e}", flush=True)


def naflex_benchmark(seconds: float) -> None:
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

    def padded(model: torch.nn.Module, dtype: torch.dtype) -> Callable[[], object]:
        return lambda: model(pixel_values=rows.to(dtype), pixel_attention_mask=mask, spatial_shapes=torch.from_numpy(grids))

    half = copy.deepcopy(theirs).bfloat16()
    jobs = {"transformers, padded, fp32": padded(theirs, torch.float32),
            "transformers, padded, bf16": padded(half, torch.bfloat16)}
    for precision in ("fp32", "bf16", "int8"):
        jobs[f"ours, packed, torch {precision}"] = functools.partial(packed(tower, precision), together)
    with torch.inference_mode():
        spent = rounds(jobs, seconds, 3)
    total, base = int(lengths.sum()), spent["transformers, padded, fp32"]
    print(f"\nNaFlex B/16: {len(batches)} pictures, {total} useful tokens of {rows.shape[0] * rows.shape[1]} padded")
    for name, values in spent.items():
        ratio = statistics.median(b / s for b, s in zip(base, values, strict=True))
        print(f"{name:28}{total / statistics.median(values):9.0f} useful tokens/s  ×{ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["siglip", "clip"], default="siglip")
    parser.add_argument("--naflex", action="store_true", help="only the native-aspect tower")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0, help="for the rounds of each column")
    parser.add_argument("--quick", action="store_true", help="without torch.compile, which takes a minute")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.device}")
    with tempfile.TemporaryDirectory() as home:
        os.environ["DIPTYCH_HOME"] = home
        if args.naflex:
            naflex_benchmark(args.seconds)
        else:
            towers_benchmark(args.family, args.device, args.seconds, args.quick)


if __name__ == "__main__":
    main()
