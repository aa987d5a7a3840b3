"""TorchScript archives read as data, against torch.jit.load on the same files; and archives that would do harm."""

import os
import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn

from diptych.core.errors import CheckpointError
from diptych.models.checkpoints.reader import read_weights

FOREIGN = "holds code"


class Leaf(nn.Module):
    """All that a module's attributes may be, and weights of every type."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4, bias=False).half()
        self.norm = nn.BatchNorm2d(2)
        self.steps = nn.ModuleList([nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2).double()])
        self.same = self.steps[0]
        self.tied = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        self.register_buffer("count", torch.tensor([3], dtype=torch.int32))
        self.register_buffer("seen", torch.tensor([True, False]))
        self.register_buffer("turned", torch.arange(12.0).reshape(3, 4).T[1:])
        self.register_buffer("nothing", torch.zeros(0, 5))
        self.mask = torch.full((2, 2), float("-inf"))
        self.name, self.args, self.sizes, self.rates, self.flags = "leaf", 3, [1, 2], [0.5], [True]
        self.words, self.tensors, self.table, self.pair = ["a"], [torch.ones(2)], {"a": torch.ones(1)}, (1, "b")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.args + self.sizes[0] + self.rates[0] + self.tensors[0].sum() + self.table["a"].sum()


class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.leaf, self.other = Leaf(), Leaf()
        self.other.tied = self.leaf.tied
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.leaf(x) + self.other(x) * self.scale


def save(path, traced: bool):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch call TorchScript deprecated
        tree = Tree()
        archive = torch.jit.trace(tree, torch.ones(2)) if traced else torch.jit.script(tree)
        torch.jit.save(archive, path)
    return path


def state_of(path) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(path, map_location="cpu").state_dict()


def rewritten(path, **members):
    """The archive with some members replaced (None: left out), by the last part of their names."""
    with zipfile.ZipFile(path) as archive:
        old = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, data in old.items():
            new = members.get(info.filename.rpartition("/")[2].replace(".", "_"), data)
            if new is not None:
                archive.writestr(info, new)
    return path


@pytest.mark.parametrize("traced", [False, True])
def test_weights_are_those_of_the_loaded_module_to_the_last_bit(tmp_path, traced):
    path = save(tmp_path / "tree.pt", traced)
    ours, theirs = read_weights(path), state_of(path)
    assert ours.keys() == theirs.keys() and {"leaf.steps.1.weight", "input_resolution"} < ours.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name
    assert {t.dtype for t in ours.values()} > {torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.bool}


def test_tied_weights_are_read_once(tmp_path):
    weights = read_weights(save(tmp_path / "tree.pt", traced=False))
    assert weights["leaf.tied"].data_ptr() == weights["other.tied"].data_ptr()


def test_without_declarations_every_tensor_counts(tmp_path):
    """Archives of before torch 1.6 do not say which attributes are buffers."""
    path = save(tmp_path / "tree.pt", traced=False)
    with zipfile.ZipFile(path) as archive:
        code = {name.rpartition("/")[2].replace(".", "_"): None for name in archive.namelist() if "/code/" in name}
    declared = read_weights(path)
    assert read_weights(rewritten(path, **code)).keys() == declared.keys() | {"leaf.mask", "other.mask"}


class Payload:
    """Unpickled by `pickle`, it leaves a file."""

    def __init__(self, proof, function=os.mkdir):
        self.proof, self.function = str(proof), function

    def __reduce__(self):
        return self.function, (self.proof,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_not_run(tmp_path, protocol):
    proof, path = tmp_path / "proof", save(tmp_path / "tree.pt", traced=False)
    payload = pickle.dumps({"leaf": Payload(proof)}, protocol)
    pickle.loads(payload)
    assert proof.is_dir(), "the payload must be able to do harm, or the test shows nothing"
    proof.rmdir()
    with pytest.raises(CheckpointError, match=f"tree.pt {FOREIGN} \\((posix|nt).mkdir\\)"):
        read_weights(rewritten(path, data_pkl=payload))
    assert not proof.exists()


@pytest.mark.parametrize("function", [eval, getattr, torch.load, torch.jit.load, zipfile.ZipFile])
def test_nothing_is_known_but_module_trees(tmp_path, function):
    path = save(tmp_path / "tree.pt", traced=False)
    with pytest.raises(CheckpointError, match=FOREIGN):
        read_weights(rewritten(path, data_pkl=pickle.dumps(Payload("x", function))))


@pytest.mark.parametrize("opcodes", [
    b"c__torch__.os\nsystem\nX\x04\x00\x00\x00true\x85R.",  # calls a module's class with an argument
    b"ctorch._utils\n_rebuild_tensor_v2\n)R}X\x01\x00\x00\x00aK\x01sb.",  # gives a function attributes
    b"]q\x00h\x00a.",  # a list in itself
    b"c__torch__\nTree\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.",  # a module in itself
    b"c__torch__\nTree\n)\x81.",  # without attributes
    b"K\x01.", b"", b"\x80\x02", b"not a pickle",
], ids=range(9))
def test_a_tree_that_is_none_is_damaged(tmp_path, opcodes):
    path = save(tmp_path / "tree.pt", traced=False)
    with pytest.raises(CheckpointError, match=r"tree\.pt is damaged"):
        read_weights(rewritten(path, data_pkl=opcodes))


def test_storages_must_be_there_whole_and_large_enough(tmp_path):
    path = save(tmp_path / "tree.pt", traced=False)
    with zipfile.ZipFile(path) as archive:
        tree = archive.read("tree/data.pkl")
        first = archive.getinfo("tree/data/0")
    with pytest.raises(CheckpointError, match=r"damaged.*data/0"):
        read_weights(rewritten(path, **{"0": None}))
    with pytest.raises(CheckpointError, match=r"damaged: ValueError: storage 0 is not 1 numbers of torch.float32"):
        read_weights(rewritten(save(path, traced=False), **{"0": b"\0" * (first.file_size + 1)}))
    reach = tree.replace(b"K\x00(K\x02K\x03t", b"K\x00(K\x02K\x09t")  # `tied`: 2 × 3 becomes 2 × 9 of 6 numbers
    assert reach != tree
    with pytest.raises(CheckpointError, match="damaged: RuntimeError"):
        read_weights(rewritten(save(path, traced=False), data_pkl=reach))


def test_a_flipped_byte_in_a_weight_is_noticed(tmp_path):
    path = save(tmp_path / "tree.pt", traced=False)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("tree/data/0")
        weight = archive.read(info)
    data = bytearray(path.read_bytes())
    data[data.index(weight, info.header_offset + 30)] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged: BadZipFile: Bad CRC-32"):
        read_weights(path)
