"""The command line as a whole: light to import, every command documented, errors are sentences with exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest

from diptych.cli import main as cli
from diptych.core.errors import ModelNotFound

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lancedb", "fastapi", "pyarrow", "tokenizers")


@pytest.mark.parametrize("code", ["import diptych", "from diptych.cli.main import parser; parser().format_help()"])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    program = f"import sys; {code}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_is_in_the_readme_and_has_help_with_an_example():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, module in cli.COMMANDS.items():
        assert f"diptych {name}" in readme, f"README.md does not mention `diptych {name}`"
        assert f"diptych {name}" in (module.__doc__ or ""), f"the help of {name} has no example"
        assert module.HELP and module.HELP[0].islower() and not module.HELP.endswith(".")


@pytest.mark.parametrize(("error", "code"), [
    (ModelNotFound("no such model"), 1), (OSError(28, "No space left on device"), 1),
    (ValueError("bad argument"), 2), (KeyboardInterrupt(), 130)])
def test_errors_are_one_sentence_on_stderr(monkeypatch, capsys, error, code):
    def fail(args):
        raise error

    monkeypatch.setattr(cli.COMMANDS["models"], "run", fail)
    assert cli.main(["models", "list"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("diptych: ") and "Traceback" not in err and err.count("\n") == 1


def test_an_unknown_recipe_names_the_nearest(capsys):
    assert cli.main(["train", "tinny"]) == 2
    assert "the nearest is 'tiny'" in capsys.readouterr().err


def test_a_recipe_is_shown_resolved(capsys):
    assert cli.main(["train", "tiny", "--show", "--set", "locked.steps=7"]) == 0
    assert '"steps": 7' in capsys.readouterr().out
    assert cli.main(["train", "tiny", "--show", "--set", "locked.stepz=7"]) == 2
    assert "locked.steps" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_port_that_is_none(port, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["demo", f"--port={port}"])
    assert stopped.value.code == 2 and "a port is a number from 0 to 65535" in capsys.readouterr().err


def test_quiet_leaves_notices_out(capsys):
    for words, said in (([], True), (["--quiet"], False)):
        cli.main([*words, "search", "no-such-collection", "boat"])
        assert ("is a small model trained on drawings" in capsys.readouterr().err) == said
