"""Uploads: what is too large or no picture is refused with the right status, a sentence, and a count."""

import struct
import zlib

import pytest

from coloured import drawn, encoded
from fakes import COLOURS

RED = drawn(COLOURS["red"], "noisy")


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it is 40,000 × 40,000."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


BAD = {
    "empty": (b"", 422, "empty file", "the file is empty; send a JPEG"),
    "text": (b"hello, I am not a picture", 415, "not a picture", "not a picture that can be read"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "SVG is not read", "SVG drawings are not read"),
    "bomb": (bomb(), 413, "too many pixels", "up to 1 megapixels"),
    "truncated": (encoded(RED)[:5000], 422, "truncated", "ends too early"),
    "damaged": (encoded(RED)[:40] + b"\0" * 400 + encoded(RED)[440:], 422, "damaged", "save it again"),
    "large": (encoded(RED) + b"\0" * 200_000, 413, "file too large", "pictures of up to 0.191 MB"),
    "huge": (b"\0" * 3_000_000, 413, "file too large", "send a smaller copy"),
}


def rejected(client) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    lines = [line for line in lines if line.startswith("diptych_uploads_rejected_total")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_upload_is_refused_with_a_sentence(client, kind):
    data, status, reason, says = BAD[kind]
    answer = client.post("/api/search", files={"picture": ("holiday.png", data, "image/png")})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert rejected(client) == {reason: 1.0}
    assert client.get("/api/search", params={"q": "red"}).status_code == 200


def test_a_body_without_length_is_bounded_as_it_arrives(client):
    sent = 0

    def endless():
        nonlocal sent
        yield b"--x\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"p.png\"\r\n\r\n"
        while sent < 10_000_000:
            sent += 50_000
            yield b"\0" * 50_000

    answer = client.post("/api/search", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert rejected(client) == {"file too large": 1.0}


@pytest.mark.parametrize(("form", "says"), [
    ({"files": {"photo": ("p.png", encoded(RED))}}, "picture: field required"),
    ({"data": {"picture": "red"}}, "picture: "),
    ({}, "picture: field required"),
    ({"content": b"\xff\xfe", "headers": {"Content-Type": "multipart/form-data"}}, ""),
    ({"content": b"no parts", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, ""),
])
def test_a_form_without_a_picture_is_the_callers_mistake(client, form, says):
    answer = client.post("/api/search", **form)
    assert answer.status_code in (400, 422)
    assert says in answer.json()["detail"]


def test_a_picture_at_the_limit_is_taken(client):
    data = encoded(RED)
    data += b"\0" * (200_000 - len(data))
    assert client.post("/api/search", files={"picture": ("p.png", data)}).status_code == 200
