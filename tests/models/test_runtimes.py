"""The engine that is asked for, the one that is chosen, and what is said when neither can be."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from small_towers import clip_towers, pictures, siglip_towers, tiny_towers
from test_embedder import WORDS, built, embedder_of, naflex_towers

from diptych.core import telemetry
from diptych.core.errors import CheckpointError
from diptych.models import candidate, choice, engine, exported, int8, runtimes
from diptych.models.candidate import Candidate
from diptych.models.choice import Choice, Measured
from diptych.models.config import EfficientNetConfig, TransformersTextConfig, TwoTowerConfig

PICTURES = pictures(3)
FP32, BF16, INT8 = (Candidate("torch", precision) for precision in ("fp32", "bf16", "int8"))


def measured(which: Candidate, ms: float, cosine: float, text_ms: float | None = None,
             text_cosine: float | None = None) -> Measured:
    return Measured(runtime=which.runtime, precision=which.precision, picture_ms=ms, picture_cosine=cosine,
                    text_ms=ms if text_ms is None else text_ms,
                    text_cosine=cosine if text_cosine is None else text_cosine)


EXACT = measured(FP32, 10.0, 1.0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def wide(home, monkeypatch):
    """A machine that has bfloat16 and int8, and a model that is not too small to be measured."""
    monkeypatch.setattr(runtimes, "SMALL", 0)
    monkeypatch.setattr(engine, "native_bf16", lambda: True)
    monkeypatch.setattr(int8, "supported", lambda: True)
    runtimes._say.cache_clear()
    return embedder_of(clip_towers())


@pytest.fixture
def measurements(monkeypatch):
    """Put what `measure` is to find into this list; the candidates that it was asked for come out of the other."""
    found: list[Measured] = []
    asked: list[list[Candidate]] = []

    def measure(candidates, open_):
        asked.append(list(candidates))
        return tuple(m for m in found if m.candidate in candidates)

    monkeypatch.setattr(choice, "measure", measure)
    return found, asked


def test_the_fastest_within_the_bound_is_taken_for_each_tower(wide, measurements):
    found, asked = measurements
    found += [EXACT, measured(BF16, 4.0, 0.99996, text_ms=4.0, text_cosine=0.9999)]
    model = built(wide)
    assert asked == [[FP32, BF16]]  # int8 is nobody's default
    assert model.engine.name == "torch bf16, texts torch fp32"


@pytest.mark.parametrize(("ms", "cosine", "taken"), [
    (4.0, 0.99996, "torch bf16"), (4.0, 0.99994, "torch fp32"), (11.0, 0.99999, "torch fp32")])
def test_neither_a_slower_nor_a_coarser_engine_is_taken(wide, measurements, ms, cosine, taken):
    measurements[0][:] = [EXACT, measured(BF16, ms, cosine)]
    assert built(wide).engine.name == taken


def test_half_of_the_allowed_error_is_left_for_what_was_not_measured():
    assert pytest.approx((1 - choice.BOUND) / 2) == 1 - choice.SAFE


def test_what_was_measured_is_remembered_on_this_machine_and_for_these_candidates(wide, measurements, monkeypatch):
    found, asked = measurements
    found += [EXACT, measured(BF16, 4.0, 1.0)]
    for _ in range(3):
        assert built(wide).engine.name == "torch bf16"
    assert len(asked) == 1
    file = exported.engines_folder(wide.spec.fingerprint) / "choice.json"
    assert json.loads(file.read_text())["machine"] == choice.machine("cpu")

    monkeypatch.setattr(choice, "machine", lambda _: "another processor")
    assert built(wide).engine.name == "torch bf16" and len(asked) == 2

    file.write_text(file.read_text()[:40])
    assert built(wide).engine.name == "torch bf16" and len(asked) == 3

    monkeypatch.setattr(exported, "is_exported", lambda *_: True)
    monkeypatch.setattr(exported, "missing_packages", lambda what: () if what == "openvino" else ("onnx",))
    found += [measured(Candidate("openvino", "fp32"), 20.0, 1.0), measured(Candidate("openvino", "bf16"), 20.0, 1.0)]
    assert built(wide).engine.name == "torch bf16"
    assert asked[-1] == [FP32, BF16, Candidate("openvino", "fp32"), Candidate("openvino", "bf16")]


def test_another_model_is_measured_again(wide, measurements):
    found, asked = measurements
    found += [EXACT, measured(BF16, 4.0, 1.0)]
    built(wide)
    built(embedder_of(clip_towers(), fingerprint="f" * 64))
    assert len(asked) == 2


def test_a_home_that_cannot_be_written_costs_only_the_memory(wide, measurements, home):
    measurements[0][:] = [EXACT, measured(BF16, 4.0, 1.0)]
    (home / "engines").write_text("a file where the folder should be")
    assert [built(wide).engine.name for _ in range(2)] == ["torch bf16"] * 2
    assert len(measurements[1]) == 2


def test_what_was_chosen_is_said_once(wide, measurements, capsys):
    measurements[0][:] = [EXACT, measured(BF16, 4.0, 0.99997)]
    telemetry.show_progress(True)
    for _ in range(2):
        built(wide)
        built(wide, precision="bf16", runtime="torch")
    said = capsys.readouterr().err
    assert said == ("diptych: random runs by torch bf16, the fastest here whose vectors keep a cosine of 0.9999 with "
                    "float32 (0.99997 at worst where it was measured)\n")


def test_int8_is_measured_and_said_to_be_far_off_when_it_is(wide, measurements, capsys):
    measurements[0][:] = [measured(INT8, 2.0, 0.9987)]
    telemetry.show_progress(True)
    assert built(wide, precision="int8").engine.name == "torch int8"
    assert "in int8 has vectors of a cosine of 0.9987" in capsys.readouterr().err
    measurements[0][:] = [measured(INT8, 2.0, 0.9996)]
    built(embedder_of(clip_towers(), fingerprint="f" * 64), precision="int8")
    assert capsys.readouterr().err == ""


def test_a_small_model_is_not_measured(home, measurements):
    assert built(embedder_of(tiny_towers())).engine.name == "torch fp32"
    assert measurements[1] == [] and not (home / "engines").exists()


def test_the_real_measurement_finds_what_is_exact_and_what_is_not(wide):
    half = [c for c in (BF16, INT8) if c == BF16 or torch.cpu._is_vnni_supported()]
    model = candidate.Model(wide.towers, wide.spec.fingerprint, torch.device("cpu"))
    found = choice.measure([FP32, *half], lambda c: wide.by(candidate.open_engine(model, c, c)))
    assert [m.candidate for m in found] == [FP32, *half]
    assert all(m.picture_ms > 0 and m.text_ms > 0 for m in found)
    assert min(found[0].picture_cosine, found[0].text_cosine) > 1 - 1e-6
    assert all(0.98 < min(m.picture_cosine, m.text_cosine) < 1 - 1e-7 for m in found[1:])


@pytest.mark.parametrize("side", [32, 160, 378])
def test_the_pictures_that_decide_are_always_the_same_and_all_different(side):
    first, again = choice.drawn(side), choice.drawn(side)
    assert [p.tobytes() for p in first] == [p.tobytes() for p in again]
    assert {p.size for p in first} == {(side, side)} and len({p.tobytes() for p in first}) == 4


@pytest.mark.parametrize("family", [siglip_towers, clip_towers, tiny_towers, naflex_towers])
@pytest.mark.parametrize("precision", ["fp32", "bf16",
                                       pytest.param("int8", marks=pytest.mark.skipif(
                                           not torch.cpu._is_vnni_supported(),
                                           reason="needs a CPU with AVX-512 VNNI: Intel from Ice Lake, AMD Zen 4"))])
def test_torch_in_each_precision(home, family, precision):
    """Bounds as in test_packed.py, where their reason is."""
    exact = embedder_of(family())
    model = built(exact, precision=precision, runtime="torch")
    assert model.engine.name == f"torch {precision}"
    for embed, inputs in (("embed_images", PICTURES), ("embed_texts", WORDS)):
        vectors, expected = getattr(model, embed)(inputs), getattr(exact, embed)(inputs)
        if precision == "fp32":
            np.testing.assert_allclose(vectors, expected, atol=1e-5)
        assert (vectors * expected).sum(axis=1).min() > {"fp32": 1 - 1e-6, "bf16": 0.998, "int8": 0.98}[precision]


@pytest.mark.parametrize(("how", "said"), [
    ({"device": "gpu"}, "device is 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
    ({"device": "meta"}, "device is 'cpu', 'cuda' or 'cuda:N', got 'meta'"),
    ({"device": "cuda:99"}, "device 'cuda:99' is not here"),
    ({"runtime": "compiled", "precision": "int8"}, "'compiled' computes in fp32 or bf16"),
])
def test_what_cannot_be_is_said(home, how, said):
    with pytest.raises(ValueError, match=said):
        built(embedder_of(clip_towers()), **how)


def test_a_name_that_is_not_known_is_said_with_those_that_are():
    with pytest.raises(ValueError, match="precision is one of fp32, bf16, int8, got 'fp16'"):
        runtimes.check_name("precision", "fp16", get_args(engine.Precision))
    runtimes.check_name("precision", "int8", get_args(engine.Precision))
    runtimes.check_name("precision", None, get_args(engine.Precision))


def test_onnxruntime_has_no_bfloat16(tmp_path):
    from diptych.models import runtime_onnx

    with pytest.raises(ValueError, match="fp32 or int8 on a CPU; for bf16 take runtime 'torch' or 'openvino'"):
        runtime_onnx.runner(tmp_path / "image.onnx", "bf16")


@pytest.mark.parametrize("runtime", ["compiled", "openvino", "onnxruntime"])
def test_towers_that_run_by_torch_only(home, runtime):
    with pytest.raises(ValueError, match=f"only known from its pictures: it runs by torch only; .* not '{runtime}'"):
        built(embedder_of(naflex_towers()), runtime=runtime, precision="fp32")


def test_a_text_tower_of_transformers_runs_by_torch_only():
    text = TransformersTextConfig(
        model_type="xlm-roberta", vocab_size=300, context_length=9, width=24, projection=20,
        settings={"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                  "max_position_embeddings": 16})
    towers = embedder_of(clip_towers()).towers
    towers.config = TwoTowerConfig(image=towers.config.image, text=text)
    assert exported.why_not(towers) == "the text tower is transformers' xlm-roberta"


def test_a_convolutional_tower_has_no_int8(home):
    model = embedder_of(tiny_towers(EfficientNetConfig(image_size=32, hidden=8, projection=16)))
    for runtime in (None, "torch", "openvino", "onnxruntime"):
        with pytest.raises(ValueError, match="int8 is for transformers, and EfficientNet is convolutional"):
            built(model, precision="int8", runtime=runtime)


@pytest.mark.parametrize(("runtime", "package", "command"), [
    ("openvino", "openvino", r"pip install 'diptych\[openvino\]'"),
    ("onnxruntime", "onnxscript", r"pip install 'diptych\[onnx\]'")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(home, monkeypatch, runtime, package, command):
    monkeypatch.setattr(exported, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(CheckpointError, match=f"{runtime} needs the package {package}; `{command}`"):
        built(embedder_of(clip_towers()), runtime=runtime, precision="fp32")
    with pytest.raises(CheckpointError, match=command):
        runtimes.export(embedder_of(clip_towers()).towers, home / "out", exported.KIND[runtime])


def test_a_missing_compiler_is_named(home, monkeypatch):
    from diptych.models import compiled

    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    with pytest.raises(CheckpointError, match=r"needs a C\+\+ compiler on a CPU, and there is neither \S+ nor clang"):
        built(embedder_of(clip_towers()), runtime="compiled", precision="fp32")


def test_without_vnni_int8_is_left_to_the_runtimes_that_are_installed(home, monkeypatch):
    monkeypatch.setattr(int8, "supported", lambda: False)
    model = candidate.Model(embedder_of(clip_towers()).towers, "0" * 64, torch.device("cpu"))
    monkeypatch.setattr(exported, "missing_packages", lambda what: () if what == "openvino" else ("onnx",))
    assert candidate.candidates(model, "int8", None) == [Candidate("openvino", "int8")]
    monkeypatch.setattr(exported, "missing_packages", lambda _: ("it",))
    assert candidate.candidates(model, "int8", None) == [INT8]
    with pytest.raises(ValueError, match="needs oneDNN and a processor with AVX-512 VNNI"):
        candidate.open_engine(model, INT8, INT8)


def test_a_choice_knows_its_worst_cosine():
    mixed = Choice(image=BF16, text=FP32, measured=(EXACT, measured(BF16, 1.0, 0.9998, text_cosine=0.9)))
    assert mixed.worst() == 0.9998
    assert Choice(image=FP32, text=FP32).worst() == 1.0
