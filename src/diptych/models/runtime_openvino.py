"""OpenVINO as an engine: the exported towers in float32, bfloat16 or int8 on a CPU.

Int8 is made here, of the float32 files: weights symmetric with a scale for each output channel, activations quantised
as they come, each token in groups of as many channels as the tower is wide (OpenVINO's dynamic quantisation), so there
is nothing to calibrate, and no vector depends on its batch. What lies between the products is bfloat16 where the
processor has it. `openvino` is an optional extra.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.core.errors import CheckpointError
from diptych.models.engine import Features, Precision


def runner(path: Path, precision: Precision, input_shape: list[int]) -> Callable[[np.ndarray], Features]:
    """The tower in `path` (an .xml) as a function of its input. `input_shape` has −1 where any size goes.

    ValueError when the processor has no bfloat16, or when there is nothing that could be int8.
    """
    import openvino as ov

    core = ov.Core()
    if precision == "bf16" and not has_bf16(core):
        raise ValueError("this processor does not multiply bfloat16; take precision 'fp32' or 'int8'")
    model = core.read_model(str(path))
    model.reshape(ov.PartialShape(input_shape))
    half = precision == "bf16" or (precision == "int8" and has_bf16(core))
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(_compress(model)) if precision == "int8" else "0"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    alone = threading.Lock()  # a request computes one thing at a time, on all cores

    def run(inputs: np.ndarray) -> Features:
        with alone:
            return np.array(request.infer([np.ascontiguousarray(inputs)], share_inputs=True)[0], np.float32)

    return run


def has_bf16(core: Any) -> bool:
    """Whether OpenVINO finds bfloat16 on this CPU."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _compress(model: Any) -> int:
    """Store the matrices of `model` as int8, in place; returns the width of most of them, the group to quantise
    activations in."""
    from openvino import opset13 as ops

    widths: list[int] = []
    for product in model.get_ordered_ops():
        if product.get_type_name() != "MatMul" or product.input_value(1).get_node().get_type_name() != "Constant":
            continue
        weight, settings = product.input_value(1).get_node().data, product.get_attributes()
        if weight.ndim != 2:
            continue
        rows = (weight if settings["transpose_b"] else weight.T).astype(np.float32)  # outputs, inputs
        scales = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / 127, 1e-12)
        signed = np.rint(rows / scales).astype(np.int8)
        stored = ops.multiply(ops.convert(ops.constant(signed), np.float32), ops.constant(scales))
        replaced = ops.matmul(product.input_value(0), stored, settings["transpose_a"], True)
        replaced.set_friendly_name(product.get_friendly_name())
        product.output(0).replace(replaced.output(0))
        widths.append(rows.shape[1])
    if not widths:
        raise CheckpointError("the exported file has no matrix that could be int8")
    model.validate_nodes_and_infer_types()
    return max(set(widths), key=widths.count)
