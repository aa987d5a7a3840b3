"""`diptych COMMAND`: picks the command, turns errors into sentences. Imports no torch until a command runs.

Each command module has `HELP` (one line), `arguments(parser)` and `run(args) -> exit code`, and imports what is heavy
inside `run`. stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the world's fault, 2 the
caller's, 3 a job that finds its figures worse than the last time, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence

import diptych
from diptych.cli import collections, compare, corpus, demo, evaluate, index, models, reproduce, search, serve, train

COMMANDS = {"index": index, "search": search, "serve": serve, "demo": demo, "collections": collections,
            "corpus": corpus, "models": models, "train": train, "evaluate": evaluate, "compare": compare,
            "reproduce": reproduce}


def parser() -> argparse.ArgumentParser:
    """The whole command line; tests walk it to prove that every command is documented."""
    top = argparse.ArgumentParser(prog="diptych", description="The open workbench for image–text embeddings.")
    top.add_argument("--version", action="version", version=f"diptych {diptych.__version__}")
    top.add_argument("--quiet", action="store_true", help="no progress and no notices on stderr")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        module.arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the console script's entry point."""
    from diptych.core import telemetry
    from diptych.core.errors import DiptychError

    args = parser().parse_args(argv)
    telemetry.show_progress(not args.quiet)
    try:
        return args.run(args)
    except DiptychError as error:
        print(f"diptych: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"diptych: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("diptych: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `diptych search … | head`
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"diptych: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
