"""Every kind of file that holds weights: read to the last bit, and refused in a sentence when something is wrong."""

import argparse
import json
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_torchscript import Payload

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.reader import check_finite, read_weights, strip_prefixes

WEIGHTS = {
    "visual.conv1.weight": torch.randn(4, 3, 2, 2).half(),
    "visual.proj": torch.randn(3, 5),
    "ln_final.bias": torch.randn(7).bfloat16(),
    "logit_scale": torch.tensor(4.5),
    "visual.bn1.num_batches_tracked": torch.tensor(7),
}
KINDS = ("safetensors", "pt", "legacy.pt", "bin", "npz")


def save(folder, kind: str, weights=WEIGHTS):
    path = folder / f"model.{kind}"
    match kind:
        case "safetensors":
            save_file(weights, path)
        case "npz":  # as JAX saves bfloat16: two bytes of no type that numpy knows
            np.savez(path, **{name: t.view(torch.int16).numpy().view("V2") if t.dtype == torch.bfloat16 else t.numpy()
                              for name, t in weights.items()})
        case _:
            torch.save(weights, path, _use_new_zipfile_serialization=not kind.startswith("legacy"))
    return path


def same(weights, expected=WEIGHTS) -> bool:
    return weights.keys() == expected.keys() and all(
        weights[name].dtype == t.dtype and torch.equal(weights[name], t) for name, t in expected.items())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_tensors_that_were_saved(tmp_path, kind):
    weights = read_weights(save(tmp_path, kind))
    assert same(weights)
    assert same(read_weights(str(save(tmp_path, kind))))
    assert not any(t.requires_grad or isinstance(t, torch.nn.Parameter) for t in weights.values())


@pytest.mark.parametrize("wrap", [
    lambda w: {"state_dict": w, "epoch": 3, "optimizer": {"lr": [0.1]}},
    lambda w: {"model": {"module": w}, "epoch": 3},
    lambda w: {"model_state_dict": {f"module._orig_mod.{k}": v for k, v in w.items()}},
    lambda w: {f"_orig_mod.module.{k}": torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in w.items()},
], ids=["state_dict", "model.module", "prefixes", "parameters"])
@pytest.mark.parametrize("kind", ["pt", "legacy.pt"])
def test_weights_are_found_where_training_files_keep_them(tmp_path, wrap, kind):
    assert same(read_weights(save(tmp_path, kind, wrap(WEIGHTS))))


def test_prefixes_go_only_where_every_name_has_them():
    one = torch.zeros(1)
    assert strip_prefixes({"module.a": one, "b": one}).keys() == {"module.a", "b"}
    assert strip_prefixes({"module.a": one, "module.module.b": one}).keys() == {"a", "module.b"}
    assert strip_prefixes({}) == {}


def sharded(folder, suffix="safetensors"):
    names, stem = list(WEIGHTS), "pytorch_model" if suffix == "bin" else "model"
    where = {}
    for i, part in enumerate((names[:2], names[2:]), start=1):
        file, weights = f"{stem}-{i:05d}-of-00002.{suffix}", {name: WEIGHTS[name] for name in part}
        (save_file if suffix == "safetensors" else torch.save)(weights, folder / file)
        where |= dict.fromkeys(part, file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index, where


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_by_their_index_and_by_the_name_of_the_whole(tmp_path, suffix):
    index, _ = sharded(tmp_path, suffix)
    assert same(read_weights(index))
    whole = index.with_name(index.name.removesuffix(".index.json"))
    assert same(read_weights(whole))
    other = {"a": torch.ones(2)}
    (save_file if suffix == "safetensors" else torch.save)(other, whole)
    assert same(read_weights(whole), other), "a whole file comes before an index that was left beside it"


def test_shards_that_lack_something_are_named(tmp_path):
    index, where = sharded(tmp_path)
    index.write_text(json.dumps({"weight_map": where | {"visual.more": "model-00002-of-00002.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"00002\.safetensors and .*index\.json do not agree about visual\.more"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {k: v for k, v in where.items() if k != "logit_scale"}}))
    with pytest.raises(CheckpointError, match="do not agree about logit_scale"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": where | {"a": "../a.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"names '\.\./a\.safetensors', which does not lie beside it"):
        read_weights(index)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    index.write_text(json.dumps({"weight_map": where}))
    with pytest.raises(CheckpointError, match=r"00002-of-00002\.safetensors does not exist"):
        read_weights(index)
    for text in ("{", "[]", '{"weight_map": []}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="is not an index of shards"):
            read_weights(index)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), kept=st.floats(0, 1, exclude_max=True))
def test_a_part_of_a_file_is_never_taken_for_the_file(tmp_path, kind, kept):
    path = save(tmp_path, kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(CheckpointError, match=rf"^{re.escape(str(path))} is (not whole|damaged, or not whole)"):
        read_weights(path)


def test_a_pickle_that_ends_within_a_name_is_not_taken_for_code(tmp_path):
    path = save(tmp_path, "legacy.pt", {"a": torch.ones(2)})
    data = path.read_bytes()
    for kept in range(len(data)):
        path.write_bytes(data[:kept])
        with pytest.raises(CheckpointError, match=r"is (not whole|damaged, or not whole)"):
            read_weights(path)


def test_the_sizes_are_said_where_they_are_known(tmp_path):
    path = save(tmp_path, "safetensors")
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=f"not whole: {size - 10:,} bytes are here, and it has {size:,}; pull"):
        read_weights(path)
    path = save(tmp_path, "pt")
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(CheckpointError, match="not whole: 1,500 bytes are here, and it has more"):
        read_weights(path)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 353976522\n")
    with pytest.raises(CheckpointError, match="Git LFS's pointer to a file of 353,976,522 bytes"):
        read_weights(path)


@pytest.mark.parametrize("kind", ["pt", "legacy.pt"])
def test_code_beside_the_weights_is_named_and_not_run(tmp_path, kind):
    proof = tmp_path / "proof"
    path = save(tmp_path, kind, WEIGHTS | {"extra": Payload(proof)})
    with pytest.raises(CheckpointError, match=r"holds code \((posix|nt)\.mkdir\), so it is not opened.*safetensors"):
        read_weights(path)
    path = save(tmp_path, kind, {"state_dict": WEIGHTS, "args": argparse.Namespace(lr=1)})
    with pytest.raises(CheckpointError, match=r"holds code \(argparse\.Namespace\)"):
        read_weights(path)
    path = save(tmp_path, kind, torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"holds code \(torch\.nn\.modules\.linear\.Linear\)"):
        read_weights(path)
    assert not proof.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_not_opened(tmp_path, protocol):
    proof, path = tmp_path / "proof", tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Payload(proof), protocol))
    with pytest.raises(CheckpointError, match="may hold code, so it is not opened"):
        read_weights(path)
    assert not proof.exists()


def test_arrays_of_objects_are_not_opened(tmp_path):
    proof, path = tmp_path / "proof", tmp_path / "model.npz"
    np.savez(path, a=np.ones(2), b=np.array([Payload(proof)], dtype=object))
    with pytest.raises(CheckpointError, match="holds code"):
        read_weights(path)
    assert not proof.exists()
    with np.load(path, allow_pickle=True) as arrays:
        assert len(arrays["b"]) == 1
    assert proof.is_dir(), "the payload must be able to do harm, or the test shows nothing"


@pytest.mark.parametrize(("name", "content", "message"), [
    ("a.safetensors", b"<!DOCTYPE html><html>", "is not a safetensors file: it begins with b'<!DOCTYPE html>"),
    ("a.pt", b"<!DOCTYPE html><html>", "is not a PyTorch file: it begins with b'<!DOCTYPE html>"),
    ("a.npz", b"<!DOCTYPE html><html>", "is not a numpy .npz file"),
    ("a.npz", pickle.dumps({"a": 1}), "is not a numpy .npz file"),
    ("a.onnx", b"\x08\x07", "is of no kind that is read: .safetensors, .pt"),
    ("a.safetensors", b"", "is not whole: it is empty"),
    ("a.safetensors", b"\x05\0\0\0\0\0\0\0{---}", "is damaged"),
    ("a.safetensors", b"\x08\0\0\0\0\0\0\0{\"a\": 1}", "is damaged"),
], ids=str)
def test_other_kinds_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(f"{tmp_path / name} {message}")):
        read_weights(tmp_path / name)


def test_other_zip_files_are_named(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.txt", "nothing")
    with pytest.raises(CheckpointError, match=r"is a zip file, but none that torch\.save has written"):
        read_weights(path)


@pytest.mark.parametrize(("content", "message"), [
    ([torch.ones(2)], "holds no weights by name, but a list"),
    ({}, "holds no weights by name, but a dict"),
    (torch.ones(2), "holds no weights by name, but a Tensor"),
    ({"epoch": 3, "a": torch.ones(1)}, "holds what are no tensors: epoch; weights are expected at the top, or under"),
    ({"state_dict": {"a": [1.0]}}, "holds what are no tensors: a;"),
])
def test_files_without_weights_are_named(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        read_weights(save(tmp_path, "pt", content))


def test_a_dictionary_in_itself_ends(tmp_path):
    endless: dict[str, object] = {}
    endless["model"] = endless
    with pytest.raises(CheckpointError, match="no tensors: model"):
        read_weights(save(tmp_path, "pt", endless))


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.pt does not exist; `diptych models pull"):
        read_weights(tmp_path / "a.pt")
    (tmp_path / "b.pt").mkdir()
    with pytest.raises(CheckpointError, match="is a folder: name the file"):
        read_weights(tmp_path / "b.pt")
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    with pytest.raises(CheckpointError, match=r"loop\.pt (does not exist|cannot be read)"):
        read_weights(tmp_path / "loop.pt")
    if os.geteuid():  # root may read everything
        path = save(tmp_path, "pt")
        path.chmod(0)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_weights(path)


@settings(deadline=None)
@given(st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
       st.sampled_from([float("inf"), float("-inf"), float("nan")]), st.integers(0, 40), st.integers(41, 80))
def test_the_first_value_that_is_not_finite_is_named(dtype, value, at, length):
    fine = {"a": torch.randn(length).to(dtype), "none": torch.zeros(0, dtype=dtype), "count": torch.tensor(7)}
    check_finite(fine, "model.pt")
    bad = torch.randn(length).to(dtype)
    bad[at] = value
    with pytest.raises(CheckpointError, match=r"^model\.pt: 'visual\.proj' has values that are not finite") as error:
        check_finite(fine | {"visual.proj": bad}, "model.pt")
    assert ("half precision" in str(error.value)) == (dtype == torch.float16)
