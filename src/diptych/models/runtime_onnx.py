"""ONNX Runtime as an engine: the exported towers in float32 or int8 on a CPU.

Int8 is its dynamic quantisation: weights symmetric with a scale for each output channel, activations as they come with
one scale for the whole batch. So that no vector depends on its batch-mates, inputs go in one by one, which on a CPU
costs nothing with pictures. `onnxruntime`, `onnx` and `onnxscript` are an optional extra.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import torch

from diptych.models.engine import Features, Precision


def runner(path: Path, precision: Precision) -> Callable[[np.ndarray], Features]:
    """The tower in `path` (an .onnx) as a function of its input. ValueError for a precision it does not have."""
    import onnxruntime

    if precision == "bf16":
        raise ValueError("onnxruntime computes in fp32 or int8 on a CPU; for bf16 take runtime 'torch' or 'openvino'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    path = quantised(path) if precision == "int8" else path
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(inputs: np.ndarray) -> Features:
        parts = np.split(inputs, len(inputs)) if precision == "int8" else [inputs]
        return np.concatenate([np.asarray(session.run(None, {name: part})[0], np.float32) for part in parts])

    return run


def quantised(path: Path) -> Path:
    """The file of int8 weights beside an exported one, made if it is not there."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_suffix(".int8.onnx")
    if target.exists():
        return target
    model = onnx.load(str(path))
    del model.graph.value_info[:]  # the quantiser transposes matrices and would find the shapes they had before
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _quietly():
        made = Path(folder) / target.name
        quantize_dynamic(
            model, str(made), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8,
            use_external_data_format=True, extra_options={"WeightSymmetric": True})
        for file in sorted(Path(folder).iterdir(), reverse=True):  # the weights, and then the file that names them
            file.replace(path.parent / file.name)
    return target


@contextlib.contextmanager
def _quietly() -> Generator[None, None, None]:
    """Without the advice to use onnxruntime's own preprocessing, of which an export of torch needs nothing."""
    log, level = logging.getLogger(), logging.getLogger().level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
