"""`torch.compile` as a runtime: the tower's graph, in Inductor's kernels, compiled when it first runs.

On a GPU it fuses what lies between the products. On a CPU the packed towers of the torch runtime are as fast and need
no compiler; it is here to compare with. Batches of any size run in one compiled graph; a batch of one is computed as
two, because the compiler takes a 1 for a constant. Int8 is not here.
"""

import os
import shutil

import torch
from torch import Tensor, nn

from diptych.core.errors import CheckpointError
from diptych.models.engine import Precision, Run, autocast, prepared
from diptych.models.layers import channels_last
from diptych.models.naflex import PackedPatches


def compiled(tower: nn.Module, precision: Precision, device: torch.device, dynamic_dims: tuple[int, ...]) -> Run:
    """The tower compiled, with any size in `dynamic_dims`. ValueError for int8, CheckpointError without a compiler."""
    if precision == "int8":
        raise ValueError("runtime 'compiled' computes in fp32 or bf16; for int8 take 'torch', 'openvino' or "
                         "'onnxruntime'")
    if device.type == "cpu":
        names = [os.environ.get("CXX", "g++"), "clang++"]
        if not any(map(shutil.which, names)):
            raise CheckpointError(f"runtime 'compiled' needs a C++ compiler on a CPU, and there is neither "
                                  f"{' nor '.join(names)}; install one, or take runtime 'torch'")
        run = autocast(channels_last(tower)) if precision == "bf16" else channels_last(tower)
        fast = torch.compile(run, options={"freezing": True})  # freezing packs the weights, as packed.py does
    else:
        fast = torch.compile(prepared(tower, precision, device))

    def padded(inputs: Tensor | PackedPatches) -> Tensor:
        assert isinstance(inputs, Tensor)
        batch = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])
        for dim in dynamic_dims:
            torch._dynamo.mark_dynamic(batch, dim)
        return fast(batch)[: len(inputs)]

    return padded
