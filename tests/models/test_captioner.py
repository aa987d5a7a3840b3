"""A decoder beside its model: it says what `Decoder.predict` does, in any batches, and is refused by another model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_towers import randomise

from diptych.core.errors import CheckpointError
from diptych.inputs.image import Preprocessing, preprocess_batch
from diptych.inputs.naflex import NaflexPreprocessing, pack
from diptych.inputs.tokenizer import Tokenizer, TokenizerPolicy, train_bpe
from diptych.models.checkpoints import captioner, native
from diptych.models.checkpoints.captioner import has_captioner, open_captioner, save_captioner
from diptych.models.checkpoints.loading import load_embedder
from diptych.models.config import NaflexConfig, TextConfig, TwoTowerConfig, VitConfig
from diptych.models.decoder import Decoder, decoder_like
from diptych.models.naflex import PackedPatches
from diptych.models.two_tower import TwoTower

POLICY = TokenizerPolicy(length=8)
BACKEND = train_bpe(["a red boat", "Cap: a blue house", "ein grünes Haus"] * 9, vocab_size=320, alphabet=40)
SIZES = {"width": 16, "layers": 2, "heads": 2, "mlp_width": 24}
SQUARE = VitConfig(image_size=16, patch_size=8, **SIZES), Preprocessing(size=16)
NATIVE = NaflexConfig(patch_size=8, max_patches=9, grid=2, **SIZES), NaflexPreprocessing(patch_size=8, max_patches=9)


def pictures(count):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (16, 24 if i % 2 else 16, 3), np.uint8)) for i in range(count)]


def half(module):
    """With weights that half precision can hold, so that a file changes none."""
    module.load_state_dict({name: t.half().float() for name, t in randomise(module).state_dict().items()})
    return module.eval()


def made(folder, image, preprocessing):
    """A folder with a model and its decoder; and the decoder."""
    text = TextConfig(vocab_size=320, context_length=8, **{**SIZES, "width": 16})
    config = TwoTowerConfig(image=image, text=text)
    towers, decoder = half(TwoTower(config)), half(Decoder(decoder_like(text, image.width, context_length=12)))
    native.save_model(folder, towers, Tokenizer(BACKEND, POLICY), native.ModelConfig(
        name="small", towers=config, preprocessing=preprocessing, tokenizer=POLICY, languages=("en",),
        score_kind="sigmoid", general=False), native.ModelCard(licence="", calibration=None, scores={}, data_sha256=""))
    save_captioner(folder, decoder, replace(POLICY, length=12), "Cap: ")
    return towers, decoder


@pytest.mark.parametrize("kind", [SQUARE, NATIVE], ids=["square", "native"])
def test_it_says_what_the_decoder_predicts_in_any_batches(tmp_path, monkeypatch, kind):
    towers, decoder = made(tmp_path, *kind)
    before = load_embedder(tmp_path).spec.fingerprint
    found = open_captioner(tmp_path, load_embedder(tmp_path))
    shown = pictures(5)
    pixels = [preprocess_batch([one], kind[1]) if kind is SQUARE else pack([one], kind[1]) for one in shown]
    prompt = BACKEND.encode("cap:", add_special_tokens=False).ids  # cleaned as the tokenizer's policy says
    expected = []
    for one in pixels:
        given = torch.from_numpy(one) if kind is SQUARE else PackedPatches(
            torch.from_numpy(one.patches), torch.from_numpy(one.grids))
        ids = decoder.predict(towers.image.features_and_memory(given)[1], eos_id=1, pad_id=0,
                              prompt=torch.tensor([prompt]))[0].tolist()
        said = ids[len(prompt) : ids.index(1) if 1 in ids else None]
        expected.append(BACKEND.decode([i for i in said if i], skip_special_tokens=False).strip())
    assert found.describe(shown) == expected and len(set(expected)) > 1 and found.describe([]) == []
    monkeypatch.setattr(captioner, "BLOCK", 2)
    assert found.describe(shown) == expected
    for name in (captioner.CONFIG, captioner.WEIGHTS):
        (tmp_path / name).unlink()
    assert load_embedder(tmp_path).spec.fingerprint == before and not has_captioner(tmp_path)
    with pytest.raises(CheckpointError, match="has no decoder"):
        open_captioner(tmp_path, load_embedder(tmp_path))


def test_a_decoder_that_is_not_the_models_or_not_whole_is_refused(tmp_path):
    made(tmp_path / "a", *SQUARE)
    made(tmp_path / "b", replace(SQUARE[0], layers=1), SQUARE[1])
    model = load_embedder(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"was trained with the model of fingerprint .* and does not fit small"):
        open_captioner(tmp_path / "b", model)
    place = tmp_path / "a" / "decoder.json"
    said = json.loads(place.read_text())
    for changes, says in (({"memory_width": 17}, "reads tokens of width 17"),
                          ({"layers": 2}, r"does not fit decoder\.json")):
        place.write_text(json.dumps({**said, "decoder": {**said["decoder"], **changes}}))
        with pytest.raises(CheckpointError, match=says):
            open_captioner(tmp_path / "a", model)
    for broken in ("{", '{"model": "x"}', "[]"):
        place.write_text(broken)
        with pytest.raises(CheckpointError, match="is damaged"):
            open_captioner(tmp_path / "a", model)
    place.write_text(json.dumps(said))
    weights = tmp_path / "a" / "decoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match=r"decoder\.safetensors"):
        open_captioner(tmp_path / "a", model)
