"""Exported and compiled engines give torch's vectors, their files are kept and made again when they do not fit.

The engines run in a process of their own (`engines_outside.py`): shape checks break tracing, and what the exporters
warn of is not ours.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diptych.models import exported

NEEDED = ("onnx", "onnxscript", "onnxruntime", "openvino")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(
    any(map(exported.missing_packages, ("onnxruntime", "openvino"))),
    reason=f"needs {', '.join(NEEDED)}: pip install 'diptych[onnx,openvino]'")]

BF16 = pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(),
                          reason="needs a CPU with AVX-512 BF16: Intel from Sapphire Rapids, AMD from Zen 4")

# as in test_packed.py: narrow towers with large random weights
LEAST = {"fp32": 1 - 1e-6, "bf16": 0.998, "int8": 0.99}

# The order of additions; and in int8 of OpenVINO, which takes another kernel where there is a single token.
BATCH_GAP = {"openvino fp32": 1e-5, "openvino bf16": 1e-5, "openvino int8": 1e-2, "onnxruntime fp32": 1e-5,
             "onnxruntime int8": 1e-5, "compiled fp32": 1e-5, "compiled bf16": 1e-2}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """What engines_outside.py found."""
    script = Path(__file__).with_name("engines_outside.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path_factory.mktemp("home"))], capture_output=True,
                          text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=BF16), "int8"])
@pytest.mark.parametrize("family", ["siglip", "clip"])
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_an_exported_engine_gives_the_vectors_of_torch(outside, runtime, family, precision):
    if (runtime, precision) == ("onnxruntime", "bf16"):
        assert f"{family} {runtime} {precision}" not in outside  # which it does not have: test_runtimes.py
        return
    found = outside[f"{family} {runtime} {precision}"]
    assert found["engine"] == f"{runtime} {precision}"
    for part in ("image", "text"):
        assert found[f"{part}_cosine"] > LEAST[precision]
        assert found[f"{part}_batch_gap"] < BATCH_GAP[found["engine"]]
        if precision == "fp32":
            assert found[f"{part}_gap"] < 1e-5
        else:
            assert found[f"{part}_gap"] > 1e-5  # else it has not been in that precision


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=BF16)])
def test_a_compiled_engine_gives_the_vectors_of_torch(outside, precision):
    found = outside[f"clip compiled {precision}"]
    for part in ("image", "text"):
        assert found[f"{part}_cosine"] > LEAST[precision]
        assert found[f"{part}_batch_gap"] < BATCH_GAP[found["engine"]]


def test_what_is_written_says_what_goes_in_and_what_comes_out(outside):
    assert outside["written onnx"] == {"image": ["pixels", "features", ["batch"]],
                                       "text": ["ids", "features", ["batch", "length"]]}
    assert outside["written openvino"] == {"image": ["pixels", "features", []], "text": ["ids", "features", []]}
    about = outside["described"]
    assert about["preprocessing"]["size"] == 32 and about["tokenizer"]["length"] == 9
    assert about["logit_bias"] == 0 and about["logit_scale"] == outside["scale"]


def test_files_that_do_not_fit_are_made_again(outside):
    damaged, outdated = outside["damaged"], outside["outdated"]
    assert damaged["image_gap"] < 1e-5 and outdated["image_gap"] < 1e-5
    assert damaged["size_after"] > 0.9 * damaged["size_before"]  # half of it was cut off
    assert outdated["made_again"] and outdated["then_kept"]


def test_tuning_measures_all_and_is_remembered(outside):
    tuned = outside["tune"]
    expected = {f"{runtime} {precision}" for runtime in ("torch", "openvino", "onnxruntime")
                for precision in ("fp32", "bf16", "int8")} - {"onnxruntime bf16"}
    if not torch.cpu._is_avx512_bf16_supported():
        expected -= {"torch bf16", "openvino bf16"}
    if not torch.cpu._is_vnni_supported():
        expected -= {"torch int8"}
    assert set(tuned["measured"]) == expected
    assert tuned["image"] in expected and not tuned["image"].endswith("int8")
    both = tuned["image"] if tuned["image"] == tuned["text"] else f"{tuned['image']}, texts {tuned['text']}"
    assert tuned["default"] == both
    assert tuned["int8"].endswith("int8")
    assert not any(name.endswith("int8") for name in outside["tune convolutional"]["measured"])
