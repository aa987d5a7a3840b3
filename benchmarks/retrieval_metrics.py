"""Time and memory of the retrieval metrics, both ways, against the matrix rate, the bare product and CLIP_benchmark.

    python benchmarks/retrieval_metrics.py                                  # 10k and 100k captions
    python benchmarks/retrieval_metrics.py --sizes 20000 --captions 1 --rounds 1

A picture has 1 caption, or 5: N captions of N or N / 5 pictures, 512 dimensions, float32. Every measurement is a
process of its own, and the sides take turns. Memory is the peak of the resident set above what it was with the vectors
made. "Of the matrix rate" is 2 · captions · pictures · 512 operations in that time, as a share of the rate of a product
of two 2048² matrices, the best of some, in the same process.

"The product" computes the same blocks of scores and looks at none. CLIP_benchmark's side is the functions of 1.6.2's
zeroshot_retrieval.py, line by line: it holds the scores and a matrix of truths, and sorts once for each k and each way,
64 queries at a time, which is its loader's batch. Where that does not fit into memory it is left out.
"""

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np

from diptych.evaluation.metrics.blocks import BLOCK, edges
from diptych.evaluation.metrics.ranking import average_precision, hit_at_k, ndcg_at_k, relevant_ranks

DIM = 512
KS = (1, 5, 10)
Vectors = np.ndarray
Side = Callable[[Vectors, Vectors, np.ndarray], dict[str, float]]


def ours(captions: Vectors, pictures: Vectors, picture: np.ndarray) -> dict[str, float]:
    both = relevant_ranks(captions, pictures, np.arange(len(captions)), picture)
    hits = {f"{way} hit@{k}": float(hit_at_k(ranks, k).mean())
            for way, ranks in zip(("to picture", "to text"), both, strict=True) for k in KS}
    for ranks in both:  # nobody else has these; they are part of the time
        average_precision(ranks)
        ndcg_at_k(ranks, 10)
    return hits


def product(captions: Vectors, pictures: Vectors, picture: np.ndarray) -> dict[str, float]:
    for top, bottom in pairwise(edges(len(captions), BLOCK[0])):
        for left, right in pairwise(edges(len(pictures), BLOCK[1])):
            captions[top:bottom] @ pictures[left:right].T
    return {}


def clip_benchmark(captions: Vectors, pictures: Vectors, picture: np.ndarray) -> dict[str, float]:
    import torch

    def hits(rows: torch.Tensor, true: torch.Tensor, k: int) -> torch.Tensor:
        found = torch.nn.functional.one_hot(rows.topk(k, dim=1).indices, rows.shape[1])
        return (found * true[:, None]).sum(dim=(1, 2)) > 0

    scores = torch.from_numpy(captions) @ torch.from_numpy(pictures).T
    true = torch.zeros_like(scores, dtype=torch.bool)
    true[torch.arange(len(scores)), torch.from_numpy(picture)] = True
    return {f"{way} hit@{k}": torch.cat([hits(rows[at : at + 64], right[at : at + 64], k) for at in range(
        0, len(rows), 64)]).float().mean().item()
            for way, rows, right in (("to picture", scores, true), ("to text", scores.T, true.T)) for k in KS}


SIDES: dict[str, Side] = {"the product": product, "ours": ours, "CLIP_benchmark": clip_benchmark}


def problem(size: int, captions: int) -> tuple[Vectors, Vectors, np.ndarray]:
    """Captions, pictures and the picture of each caption, which is its nearest about half the time."""
    rng = np.random.default_rng(0)
    pictures = _unit(rng.standard_normal((size // captions, DIM), np.float32))
    picture = np.arange(len(pictures) * captions) // captions
    noise = 7.5 * rng.standard_normal((len(picture), DIM), np.float32) / math.sqrt(DIM)
    return _unit(pictures[picture] + noise), pictures, picture


def _unit(vectors: Vectors) -> Vectors:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def measure(side: str, size: int, captions: int) -> dict[str, object]:
    SIDES[side](*problem(1000 * captions, captions))  # libraries load
    vectors = problem(size, captions)
    Path("/proc/self/clear_refs").write_text("5")
    base, start = _peak(), time.perf_counter()
    hits = SIDES[side](*vectors)
    seconds, used = time.perf_counter() - start, _peak() - base
    operations = 2 * len(vectors[0]) * len(vectors[1]) * DIM
    return {"seconds": seconds, "bytes": used, "rate": operations / seconds / matrix_rate(), "hits": hits}


def matrix_rate() -> float:
    """Operations a second of the best of a few large products."""
    n, best = 2048, math.inf
    left, right = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    for _ in range(16):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fits(side: str, size: int, captions: int) -> bool:
    """CLIP_benchmark's scores and truths, and 64 rows of ten one-hot rows of integers, twice."""
    free = 1024 * int(next(line for line in Path("/proc/meminfo").read_text().splitlines()
                           if line.startswith("MemAvailable")).split()[1])
    return side != "CLIP_benchmark" or 5 * size * size // captions + 2 * 64 * 10 * 8 * size < 0.9 * free


def in_a_process(side: str, size: int, captions: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", side, "--sizes", str(size), "--captions", str(captions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{side} at {size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(size: int, captions: int, found: dict[str, list[dict]]) -> None:
    print(f"\n| {size:,} captions, {captions} a picture | s | of the product's time | of the matrix rate | peak MB | "
          "hit@1 to picture, to text |\n|---|---|---|---|---|---|")
    for side, results in found.items():
        seconds, rate, used = (statistics.median(r[what] for r in results) for what in ("seconds", "rate", "bytes"))
        bare = [r["seconds"] / p["seconds"] for r, p in zip(results, found.get("the product", []), strict=False)]
        times = f"{statistics.median(bare):.2f}" if bare else "–"
        hits = ", ".join(f"{hit:.5f}" for name, hit in results[0]["hits"].items() if name.endswith("hit@1")) or "–"
        print(f"| {side} | {seconds:.2f} | {times} | {rate:.0%} | {used / 1e6:,.0f} | {hits} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="captions")
    parser.add_argument("--captions", type=int, nargs="+", default=[1, 5], help="of a picture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), metavar="SIDE")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.sizes[0], options.captions[0])))
        return
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    print(f"{len(names)} × {names[0] if names else platform.machine()}, numpy {np.__version__}, D = {DIM}, "
          f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for size in options.sizes:
        for captions in options.captions:
            chosen = [side for side in options.sides if fits(side, size, captions)]
            for side in set(options.sides) - set(chosen):
                print(f"{size:,} captions: {side} left out: it does not fit into memory", file=sys.stderr)
            found: dict[str, list[dict]] = {side: [] for side in chosen}
            for number in range(options.rounds):
                for side in chosen:
                    print(f"{size:,} captions, {captions} a picture, round {number + 1}: {side}", file=sys.stderr)
                    found[side].append(in_a_process(side, size, captions))
            report(size, captions, found)


if __name__ == "__main__":
    main()
