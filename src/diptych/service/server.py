"""Serve an app: bind first, so that the address is known before anything slow begins; stop cleanly on Ctrl-C."""

import socket

import uvicorn
from fastapi import FastAPI

from diptych.core.errors import DiptychError
from diptych.service.guard import LOCAL_HOSTS

PORT = 8765
_GRACE_S = 3


class AddressInUse(DiptychError):
    """Somebody else listens on that port already."""


def listening_socket(host: str, port: int, *, any_port: bool = False) -> socket.socket:
    """A socket that takes connections from now on; they are answered once the app runs. Port 0 is any free one.

    AddressInUse if the port is taken, unless `any_port` says that another one will do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if any_port and port != 0:
            return listening_socket(host, 0)
        raise AddressInUse(f"cannot listen on {host}, port {port} ({error.strerror}); choose another with --port, or "
                           "--port 0 for any free one") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds the page."""
    host, port = listener.getsockname()[:2]
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def hosts_for(host: str) -> tuple[str, ...] | None:
    """The host names to answer to: the local ones on a loopback address; any (None) where other machines may call."""
    return LOCAL_HOSTS if host in ("127.0.0.1", "::1", "localhost") else None


def run(app: FastAPI, listener: socket.socket) -> None:
    """Answer until SIGINT or SIGTERM; open requests have a few seconds to end."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False,
                            timeout_graceful_shutdown=_GRACE_S)
    uvicorn.Server(config).run(sockets=[listener])
