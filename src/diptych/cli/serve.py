"""Serve collections over HTTP: a page to search them, and the same as REST (documented at /docs).

  diptych serve trips
  diptych serve trips pictograms --port 9000
  diptych serve trips --host 0.0.0.0        reachable from other machines; there is no password
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diptych.core.types import Embedder
    from diptych.service.shelf import Shelf

HELP = "a page in the browser, and REST, for collections"
PORT = 8765


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which collections, where to listen, which model."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="collections; the first one is shown first")
    parser.add_argument("--port", type=port_number, default=PORT,
                        help=f"port to listen on, 0: any free one (default {PORT})")
    shared_arguments(parser)


def port_number(text: str) -> int:
    """A TCP port, as argparse wants it checked."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text!r}")
    return int(text)


def shared_arguments(parser: argparse.ArgumentParser) -> None:
    """What `serve` and `demo` have in common."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, this machine)")
    parser.add_argument("--model", metavar="M", help="model's name or folder (default: each collection's own)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from diptych import workbench
    from diptych.index.store import Collection

    for name in args.names:
        if name != workbench.PICTOGRAMS:
            Collection(name)  # a name that does not exist is told before anything is started
    return serve(args.names, args.model, args.host, args.port)


def serve(names: Sequence[str], model: str | None, host: str, port: int, *, any_port: bool = False,
          open_browser: bool = False) -> int:
    """Put the page up, print its URL, and load and index in the background, until Ctrl-C."""
    from diptych.models.checkpoints import folders
    from diptych.service import server
    from diptych.service.app import create_app
    from diptych.service.shelf import Shelf

    if model is not None:
        folders.find(model)  # one that is not here is told before anything is started
    listener = server.listening_socket(host, port, any_port=any_port)
    url = server.url_of(listener)
    shelf, stop = Shelf(list(dict.fromkeys(names))), threading.Event()
    loading = threading.Thread(target=_fill, args=(shelf, model, stop), name="load")
    loading.start()
    print(url, flush=True)
    if open_browser:
        _open(url)
    try:
        server.run(create_app(shelf, hosts=server.hosts_for(host)), listener)
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        loading.join()
    print("diptych: stopped", file=sys.stderr)  # uvicorn may also end by itself at Ctrl-C
    return 0


def _fill(shelf: "Shelf", model: str | None, stop: threading.Event) -> None:
    """Load the models, open the collections, then index the bundled one if that was not done before."""
    from diptych import workbench
    from diptych.core import telemetry
    from diptych.index.search import Searcher
    from diptych.index.store import Collection

    embedders: dict[str, Embedder] = {}
    for name in (slot.name for slot in shelf.slots):
        if stop.is_set():
            return
        try:
            choice = workbench.model_for(name, model)
            if choice.name not in embedders:
                embedders[choice.name] = workbench.load_model(choice.name)
            embedder = embedders[choice.name]
            bundled = name == workbench.PICTOGRAMS
            collection = workbench.pictograms_collection(embedder) if bundled else Collection(name)
            shelf.put(name, Searcher(collection, embedder), choice.notice)
            telemetry.notice(choice.notice)
        except Exception as error:  # whatever it is, the page and the terminal say it, and the others are served
            shelf.fail(name, str(error))
            print(f"diptych: {name}: {error}", file=sys.stderr)
    bundled = shelf.find(workbench.PICTOGRAMS)
    if bundled is not None and bundled.searcher is not None:  # its truth is its length: 0 at first
        try:
            workbench.index_pictograms(bundled.searcher.embedder, stop)
        except KeyboardInterrupt:  # how `stop` ends it; the next start goes on from there
            return
        except Exception as error:  # the page says so too: the job keeps its last word in the collection
            print(f"diptych: indexing {workbench.PICTOGRAMS}: {error}", file=sys.stderr)


def _open(url: str) -> None:
    """Open the browser, where there is a screen for it: a text browser would take the terminal."""
    import os
    import webbrowser

    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(url)
