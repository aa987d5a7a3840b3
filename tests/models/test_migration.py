"""open_clip's entry points over our towers, against open_clip itself on the same weights."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from reference import open_clip
from safetensors.torch import save_file
from small_towers import clip_towers, max_gap, pictures, random_towers, tokenizer_json
from test_huggingface import entry

import diptych
from diptych.core.errors import ModelNotFound
from diptych.inputs.image import preprocess
from diptych.models.checkpoints import catalog, layouts
from diptych.models.checkpoints.entry import Weights

TOWERS = clip_towers()
SMALL = dataclasses.replace(
    entry("huggingface_clip", TOWERS), name="small-clip", aliases=("ViT-S::test",),
    weights=(Weights(layout="open_clip", repo="someone/small-clip", file="open_clip_model.safetensors"),))


@pytest.fixture
def published(own_home, monkeypatch):
    monkeypatch.setattr(catalog, "CATALOGUE", (SMALL, *catalog.CATALOGUE))
    folder = own_home / "models" / "small-clip"
    folder.mkdir(parents=True)
    weights = layouts.write(random_towers(TOWERS).state_dict(), TOWERS, "open_clip")
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer_json())
    model = open_clip().CLIP(embed_dim=20, quick_gelu=True, vision_cfg={
        "image_size": 32, "layers": 2, "width": 24, "patch_size": 8, "head_width": 8, "mlp_ratio": 40 / 24 + 1e-6,
    }, text_cfg={"context_length": 9, "vocab_size": 300, "width": 16, "heads": 4, "layers": 2, "mlp_ratio": 2.0})
    model.load_state_dict(weights, strict=True)
    return model.eval()


def test_the_same_calls_give_open_clips_numbers(published):
    model, _, transform = diptych.create_model_and_transforms("ViT-S", pretrained="test")
    tokenizer = diptych.get_tokenizer("ViT-S")
    image, text = torch.stack([transform(p) for p in pictures(3)]), tokenizer(["a red boat", "", "dog " * 30])
    assert text.shape == (3, 9) and text.dtype == torch.long
    with torch.inference_mode():
        for normalize in (False, True):
            assert max_gap(model.encode_image(image, normalize), published.encode_image(image, normalize)) < 1e-4
            assert max_gap(model.encode_text(text, normalize), published.encode_text(text, normalize)) < 1e-5
        for ours, theirs in zip(model(image, text), published(image, text), strict=False):
            assert max_gap(ours, theirs) < 1e-5
        assert max_gap(model.logit_scale, published.logit_scale) == 0 and model.logit_bias is None


def test_transforms_are_the_models_preprocessing_and_a_random_crop(published):
    _, train, evaluate = diptych.create_model_and_transforms("ViT-S", pretrained="test")
    picture = pictures(1)[0].resize((64, 48))
    np.testing.assert_array_equal(evaluate(picture).numpy(), preprocess(picture, SMALL.preprocessing))
    crops = [train(picture) for _ in range(5)]
    assert all(crop.shape == (3, 32, 32) and crop.dtype == torch.float32 for crop in crops)
    assert any(not torch.equal(crops[0], crop) for crop in crops[1:])
    flat = Image.new("RGB", (40, 90), (10, 200, 30))
    torch.testing.assert_close(train(flat), evaluate(flat))  # a crop of one colour is that colour


def test_weights_can_be_random_a_file_or_a_folder(published, tmp_path, own_home):
    fresh, _, _ = diptych.create_model_and_transforms("ViT-S")
    assert not torch.equal(fresh.towers.image.position, published.visual.positional_embedding)
    torch.save({"state_dict": published.state_dict()}, tmp_path / "epoch_1.pt")
    tuned, _, _ = diptych.create_model_and_transforms("ViT-S", pretrained=str(tmp_path / "epoch_1.pt"))
    local, _, _ = diptych.create_model_and_transforms(f"local-dir:{own_home}/models/small-clip")
    hub, _, _ = diptych.create_model_and_transforms("hf-hub:someone/small-clip")
    for model in (tuned, local, hub):
        assert torch.equal(model.towers.image.position, published.visual.positional_embedding)
        assert all(p.requires_grad for p in model.parameters())
    half, _, _ = diptych.create_model_and_transforms("ViT-S", pretrained="test", precision="bf16")
    assert half.towers.image.position.dtype == torch.bfloat16


def test_what_is_not_here_is_said(published):
    with pytest.raises(ModelNotFound, match="no architecture 'ViT-Q'"):
        diptych.create_model_and_transforms("ViT-Q")
    with pytest.raises(ModelNotFound, match="nearest is"):
        diptych.create_model_and_transforms("ViT-B-32", pretrained="laion2b_s34b_b97k")
    with pytest.raises(ModelNotFound, match="diptych models pull CLIP-ViT-B-32-laion2B-s34B-b79K"):
        diptych.create_model_and_transforms("ViT-B-32", pretrained="laion2b_s34b_b79k")
    with pytest.raises(ModelNotFound, match="no tokenizer of ViT-B-16-SigLIP2-256 on this machine"):
        diptych.get_tokenizer("ViT-B-16-SigLIP2-256")
    with pytest.raises(ValueError, match="'fp32' or 'bf16', got 'fp8'"):
        diptych.create_model_and_transforms("ViT-S", precision="fp8")


def test_every_pair_of_open_clip_that_the_catalogue_has_is_listed():
    from diptych.models.migration import list_pretrained

    theirs = set(open_clip().list_pretrained())
    ours = set(list_pretrained())
    assert ("ViT-B-16-SigLIP2", "webli") in ours and len(ours) > 100
    assert len(ours - theirs) < 10, sorted(ours - theirs)  # tags of open_clip's coming release at most
