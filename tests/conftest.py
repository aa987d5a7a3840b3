"""Every test has its own DIPTYCH_HOME; shapes are checked by jaxtyping + beartype while tests run."""

import os
import sys
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

if os.environ.get("PYTEST_XDIST_WORKER"):  # several processes: each has a core, and so have those that it starts
    os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))

# Compiled code is tested without the hook: it breaks torch.compile(fullgraph=True).
if not os.environ.get("DIPTYCH_NO_SHAPE_CHECKS"):
    install_import_hook("diptych", "typechecker.check")


@pytest.fixture(autouse=True)
def quiet():
    """Progress is off, whatever command an earlier test has run."""
    from diptych.core import telemetry

    telemetry.show_progress(False)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A fresh cache folder, so that no test sees another's (or the user's) collections."""
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
