"""Search the bundled pictograms in the browser: no network, no account, nothing to configure.

  diptych demo
  diptych demo --no-open        only print the page's URL

The first time, 21,700 pictures are indexed into the cache, which takes a few minutes. The page is up at once, shows
how far it is, and searches what is there already.
"""

import argparse

from diptych.cli.serve import PORT, port_number, serve, shared_arguments

HELP = "search the bundled pictograms in the browser"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Where to listen, which model, and whether to open the browser."""
    parser.add_argument("--no-open", action="store_true", help="do not open the browser")
    parser.add_argument("--port", type=port_number, default=PORT,
                        help=f"port to listen on (default {PORT}, else a free one)")
    shared_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve the collection `pictograms` until Ctrl-C."""
    from diptych.workbench import PICTOGRAMS

    return serve([PICTOGRAMS], args.model, args.host, args.port, any_port=True, open_browser=not args.no_open)
