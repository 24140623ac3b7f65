"""Providers' servers for tests: the addresses of ``aroma download``, answered from a directory of sample files."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CORUM = "mips.helmholtz-muenchen.de/fastapi-corum/public"


def _bodies(source: Path) -> dict[str, bytes]:
    """Return what is answered, by the end of the path."""
    core = source / "corum" / "coreComplexes.4.1.txt"
    found = {
        f"{CORUM}/releases/current": b'{"version": "4.1"}',
        f"{CORUM}/file/download_current_file": core.read_bytes() if core.exists() else b"",
        "reactome.org/ContentService/data/database/version": b"80\n",
    }
    for path in source.rglob("*"):
        if path.is_file():
            stem = path.name.replace(".2022-07-01", "").replace(".2022-09-12", "").replace(".2024-07-23", "")
            found[stem] = path.read_bytes()
            found[f"{stem}.gz"] = gzip.compress(path.read_bytes(), mtime=0)
    return found


@contextmanager
def provider_server(source: Path, down: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Yield a base for ``AROMA_DOWNLOAD_BASE`` and the paths that were asked; hosts in ``down`` have nothing."""
    bodies, asked = _bodies(source), list[str]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.lstrip("/").partition("?")[0]
            asked.append(self.path)
            host = path.partition("/")[0]
            body = bodies.get(path, bodies.get(path.rsplit("/", 1)[-1]))
            status = 404 if body is None else 200
            if host in down:
                status, body = 404, b"gone"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
