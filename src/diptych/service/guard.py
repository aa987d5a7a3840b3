"""What every request passes: the right host name, a bounded body, headers that keep the browser to this server.

The host check matters on 127.0.0.1 too: without it, a web page that lets its own name point to this machine (DNS
rebinding) could read the pictures.
"""

from collections.abc import Callable, Sequence

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware. `hosts` None allows any name. A body over `max_bytes` raises what `too_large` makes, in whoever
    reads it."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str] | None, max_bytes: int,
                 too_large: Callable[[], HTTPException]):
        self.app, self.hosts, self.max_bytes, self.too_large = app, hosts, max_bytes, too_large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then let the request through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        received = int(declared) if declared.isdecimal() and int(declared) > self.max_bytes else 0

        async def receive_bounded() -> Message:
            nonlocal received
            if received <= self.max_bytes:
                message = await receive()
                received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self.too_large()
            return message

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                outgoing = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    outgoing.setdefault(name, value)
            await send(message)

        if self.hosts is not None and _host_name(headers.get("host", "")) not in self.hosts:
            refusal = {"detail": f"this server answers to {', '.join(self.hosts)} only; to be reached by another name, "
                                 "start it with --host 0.0.0.0"}
            await JSONResponse(refusal, 421)(scope, receive, send_guarded)
        else:
            await self.app(scope, receive_bounded, send_guarded)


def _host_name(header: str) -> str:
    """The name in a Host header, without the port: `[::1]:8765` is [::1]."""
    name, _, port = header.rpartition(":")
    return (name if port.isdecimal() else header).lower()
