"""A reader sees the old file or the whole new one."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from diptych.core.files import atomic_write, home, read_bytes, sha256_bytes, sha256_file, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as stream:
        stream.write(b"half of the n")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_new_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.bin"
    with atomic_write(path) as stream:
        stream.write(b"12")
        assert not path.exists()
    assert path.read_bytes() == b"12" and path.stat().st_mode & 0o777 == 0o644


def test_hashes_are_sha256(tmp_path):
    data = b"x" * (3 << 20)
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_bytes_come_from_paths_and_urls(tmp_path):
    import fsspec

    (tmp_path / "f").write_bytes(b"here")
    with fsspec.open("memory://there", "wb") as stream:
        stream.write(b"there")
    assert read_bytes(str(tmp_path / "f")) == b"here" and read_bytes("memory://there") == b"there"


def test_home_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DIPTYCH_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("DIPTYCH_HOME")
    assert home().parts[-2:] == (".cache", "diptych")


def test_web_addresses_are_read_up_to_a_limit(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(bytes(range(200)))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert read_bytes(address + "a.bin") == bytes(range(200))
        assert read_bytes(address + "a.bin", 10) == bytes(range(10))
        with pytest.raises(OSError, match="404"):
            read_bytes(address + "b.bin")
        server.shutdown()
    assert read_bytes(str(tmp_path / "a.bin"), 3) == read_bytes(f"local://{tmp_path / 'a.bin'}", 3) == b"\0\1\2"
