"""Ten-line Embedders: pictures by their mean colour, texts by the colour words in them."""

import hashlib

import numpy as np

from diptych.core.types import Calibration, EmbedderSpec

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0),
           "cyan": (0, 255, 255), "magenta": (255, 0, 255), "white": (255, 255, 255), "black": (0, 0, 0)}


class ColourEmbedder:
    """Unit vectors in R^4: the colour relative to grey, plus a small constant so that grey has a direction."""

    def __init__(self, name: str = "colours"):
        self.spec = EmbedderSpec(
            name=name, fingerprint=hashlib.sha256(name.encode()).hexdigest(), dim=4, image_size=8, languages=("en",),
            score_kind="sigmoid", logit_scale=10.0, logit_bias=-5.0,
            calibration=Calibration(scale=12.0, bias=-9.0, cutoff=0.5))

    def embed_images(self, pictures):
        pixels = [np.asarray(p.convert("RGB").resize((1, 1), resample=4)).reshape(3) for p in pictures]
        return _unit(np.array(pixels, dtype=np.float32).reshape(-1, 3))

    def embed_texts(self, texts):
        grey = (128, 128, 128)
        return _unit(np.array([
            np.mean([COLOURS[w] for w in text.lower().split() if w in COLOURS] or [grey], axis=0) for text in texts
        ], dtype=np.float32).reshape(-1, 3))


class CountingEmbedder(ColourEmbedder):
    """Counts the pictures and texts that it is asked for."""

    def __init__(self, name: str = "colours"):
        super().__init__(name)
        self.pictures, self.texts = 0, 0

    def embed_images(self, pictures):
        self.pictures += len(pictures)
        return super().embed_images(pictures)

    def embed_texts(self, texts):
        self.texts += len(texts)
        return super().embed_texts(texts)


class ConstantEmbedder(ColourEmbedder):
    """To it everything is the same."""

    def __init__(self, name: str = "constant"):
        super().__init__(name)

    def embed_images(self, pictures):
        return _unit(np.full((len(pictures), 3), 128, np.float32))

    def embed_texts(self, texts):
        return _unit(np.full((len(texts), 3), 128, np.float32))


def _unit(colours: np.ndarray) -> np.ndarray:
    centred = np.concatenate([colours / 127.5 - 1.0, np.full((len(colours), 1), 0.1, np.float32)], axis=1)
    return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
