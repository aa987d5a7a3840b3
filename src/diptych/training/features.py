"""Features of a locked tower, computed once: the heart of LiT on a small machine (arXiv 2111.07991).

Rows are written in blocks to a memory-mapped file, with the number of finished rows beside it, so that a killed run
goes on where it stopped.
"""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from torch import nn

from diptych.core import telemetry
from diptych.core.files import write_text
from diptych.models.layers import channels_last

Pixels = UInt8[np.ndarray, "size size 3"]


def to_input(pixels: UInt8[np.ndarray, "batch size size 3"], mean: float, std: float) -> torch.Tensor:
    """uint8 pictures to a normalised channels-last batch; `mean` and `std` on the scale of 0–255."""
    return ((torch.from_numpy(pixels).float() - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def extract(
    trunk: nn.Module, pixels: Callable[[int], Pixels], count: int, dim: int, path: Path, *, batch: int = 64,
    title: str = "features",
) -> Float16[np.ndarray, "count dim"]:
    """`trunk(pixels(i))` for i in 0 … count − 1 as float16 rows, from `path` as far as an earlier run got.

    `pixels` runs in threads; EfficientNet-Lite0's input scale (x − 127) / 128 is applied here.
    """
    marker = path.with_suffix(".json")
    state = json.loads(marker.read_text()) if marker.exists() and path.exists() else {"done": 0, "count": count}
    fresh = state["done"] == 0 or state["count"] != count
    first = 0 if fresh else state["done"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if fresh:
        marker.unlink(missing_ok=True)  # of rows that are no longer there
    rows = np.lib.format.open_memmap(path, "w+" if fresh else "r+", np.float16, (count, dim) if fresh else None)
    channels_last(trunk.eval())
    starts = range(first, count, batch)

    def load(start: int) -> np.ndarray:
        return np.stack([pixels(i) for i in range(start, min(start + batch, count))])

    with ThreadPoolExecutor(1) as ahead, telemetry.progress(title, count, "pictures", first) as bar:
        upcoming = ahead.submit(load, first) if first < count else None
        for number, start in enumerate(starts):
            assert upcoming is not None
            block = upcoming.result()
            upcoming = ahead.submit(load, start + batch) if start + batch < count else None
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rows[start : start + len(block)] = trunk(to_input(block, 127, 128)).float().numpy()
            bar.advance(len(block))
            if number % 20 == 19 or start + batch >= count:
                rows.flush()
                write_text(marker, json.dumps({"done": start + len(block), "count": count}))
    return rows
