"""One rank of test_family.py: trains a small recipe on a sliver of the corpus.

    torchrun --nproc-per-node 2 tests/recipes/family_ranks.py FOLDER STRATEGY
"""

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from test_family import few_pictures, small

from diptych.data import pictograms
from diptych.recipes.family import run
from diptych.training import parallel


def main() -> None:
    torch.set_num_threads(1)
    pictures = few_pictures()
    pictograms.pictures = lambda vendors=None, splits=None, columns=None: pictures
    cluster = parallel.join(sys.argv[2], device="cpu")
    run.train(many(), Path(sys.argv[1]), cluster)
    parallel.leave(cluster)
    os._exit(0)


def many():
    """SigLIP 2 but for the curated stage, which every rank chooses for itself."""
    recipe = small("siglip2_tiny")
    return recipe.__class__(**{**vars(recipe), "stages": recipe.stages[:3]})


if __name__ == "__main__":
    main()
