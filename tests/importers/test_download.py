"""Downloads against a real local server that misbehaves in the ways that providers' servers do."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aroma.cli.app import run
from aroma.errors import DownloadError, LockHeldError, UsageError
from aroma.importers import fetch
from aroma.importers.addresses import ADDRESSES, BASE_VARIABLE, Address, Probe, at_version, published, through_mirror
from aroma.importers.discover import matches
from aroma.importers.download import Downloaded, _file_name, download, plan
from aroma.importers.fetch import Fetcher, FetchSettings
from aroma.importers.receipts import Receipt, read_receipt, receipt_path
from aroma.importers.registry import importers
from aroma.kgstore.locks import exclusive

BODY = gzip.compress(b"".join(b"%d\tline\n" % number for number in range(20_000)), mtime=0)
HALF = len(BODY) // 2
URL = "http://data.example.org/files/table.txt.gz"

Answer = Callable[["_Handler"], None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def reply(self, code: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None and length != len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class _Server(ThreadingHTTPServer):
    asked: list[tuple[str, dict[str, str]]]
    answers: list[Answer]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    started = _Server(("127.0.0.1", 0), _Handler)
    started.asked, started.answers = [], []
    thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv(BASE_VARIABLE, f"http://127.0.0.1:{started.server_port}")
    yield started
    started.shutdown()
    started.server_close()


def whole(handler: _Handler, etag: str = '"one"', body: bytes = BODY) -> None:
    """Answer as a good server: conditional requests and ranges."""
    if handler.headers.get("If-None-Match") == etag:
        handler.send_response(304)
        handler.end_headers()
        return
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked and handler.headers.get("If-Range") == etag:
        start = int(asked[1])
        place = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.reply(206, body[start:], ETag=etag, Content_Range=place)
    else:
        handler.reply(200, body, ETag=etag)


def cut(handler: _Handler) -> None:
    """Promise the whole file and close half-way."""
    handler.reply(200, BODY[:HALF], length=len(BODY), ETag='"one"')


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.reply(code, b"no", **headers)


def fetch_one(directory: Path, *, address: Address | None = None, tries: int = 3) -> tuple[Downloaded, list[float]]:
    waits: list[float] = []
    address = address or Address("lab", "table.txt.gz", current=URL)
    settings = FetchSettings(tries=tries, first_wait=0.01, timeout=5)
    with Fetcher(settings, sleep=waits.append) as fetcher:
        (done,) = download(plan(addresses=[address]), directory, fetcher)
    return done, waits


def test_file_and_receipt(server: _Server, tmp_path: Path) -> None:
    server.answers = [whole]
    done, waits = fetch_one(tmp_path)
    assert done.file == tmp_path / "lab" / "table.txt.gz"
    assert done.file.read_bytes() == BODY
    assert waits == []
    receipt = read_receipt(done.file)
    assert receipt == done.receipt
    assert receipt is not None
    assert (receipt.url, receipt.bytes, receipt.etag) == (URL, len(BODY), '"one"')
    assert receipt.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (receipt.version, receipt.version_found) == ("undated", "undated")
    assert server.asked[0][0] == "/data.example.org/files/table.txt.gz"
    left = {path.name for path in done.file.parent.iterdir()}
    assert left == {"table.txt.gz", "table.txt.gz.receipt.json"}


def test_cut_connection_is_resumed(server: _Server, tmp_path: Path) -> None:
    server.answers = [cut, whole]
    done, waits = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY
    assert len(waits) == 1
    assert server.asked[1][1]["Range"] == f"bytes={HALF}-"
    assert server.asked[1][1]["If-Range"] == '"one"'


def test_later_run_goes_on_where_this_one_ended(server: _Server, tmp_path: Path) -> None:
    server.answers = [cut, status(503)]
    with pytest.raises(DownloadError, match="503"):
        fetch_one(tmp_path)
    assert (tmp_path / "lab" / "table.txt.gz.part").stat().st_size == HALF
    assert not (tmp_path / "lab" / "table.txt.gz").exists()
    server.asked.clear()
    server.answers = [whole]
    done, _ = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY
    assert server.asked[0][1]["Range"] == f"bytes={HALF}-"


def test_changed_file_is_not_joined_to_the_old_part(server: _Server, tmp_path: Path) -> None:
    new = gzip.compress(b"another\n" * 5000, mtime=0)
    server.answers = [cut, lambda handler: whole(handler, '"two"', new)]
    done, _ = fetch_one(tmp_path)
    assert done.file.read_bytes() == new
    assert done.receipt.etag == '"two"'


def test_server_that_ignores_ranges(server: _Server, tmp_path: Path) -> None:
    server.answers = [cut, lambda handler: handler.reply(200, BODY, ETag='"one"')]
    done, _ = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY


def test_part_without_validator_is_not_resumed(server: _Server, tmp_path: Path) -> None:
    server.answers = [
        lambda handler: handler.reply(200, BODY[:HALF], length=len(BODY)),
        lambda handler: handler.reply(200, BODY),
    ]
    done, _ = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY
    assert "Range" not in server.asked[1][1]


def test_server_that_always_cuts_is_given_up(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, BODY[:HALF], length=len(BODY))]
    with pytest.raises(DownloadError, match="cut.*tried 3 times"):
        fetch_one(tmp_path)
    assert len(server.asked) == 4  # the first brought something new, the next three did not
    assert not (tmp_path / "lab" / "table.txt.gz").exists()


def test_wrong_whole_length_in_a_range_is_noticed(server: _Server, tmp_path: Path) -> None:
    def longer(handler: _Handler) -> None:
        rest = BODY[HALF:]
        place = f"bytes {HALF}-{len(BODY) + 9}/{len(BODY) + 10}"
        handler.reply(206, rest, ETag='"one"', Content_Range=place)

    server.answers = [cut, longer, lambda handler: handler.reply(416, b""), lambda handler: handler.reply(200, BODY)]
    done, waits = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY
    assert len(waits) == 3


def test_range_that_starts_elsewhere_is_refused(server: _Server, tmp_path: Path) -> None:
    def elsewhere(handler: _Handler) -> None:
        handler.reply(206, BODY[5:], ETag='"one"', Content_Range=f"bytes 5-{len(BODY) - 1}/{len(BODY)}")

    server.answers = [cut, elsewhere]
    with pytest.raises(DownloadError, match="another part"):
        fetch_one(tmp_path)


def test_passing_faults_are_tried_again(server: _Server, tmp_path: Path) -> None:
    server.answers = [status(500), status(502), whole]
    done, waits = fetch_one(tmp_path)
    assert done.file.read_bytes() == BODY
    assert len(waits) == 2
    assert 0.005 <= waits[0] <= 0.015
    assert 0.010 <= waits[1] <= 0.030


def test_retry_after_is_respected(server: _Server, tmp_path: Path) -> None:
    server.answers = [status(429, Retry_After="7"), whole]
    _, waits = fetch_one(tmp_path)
    assert waits == [7.0]


def test_retry_after_as_a_date(server: _Server, tmp_path: Path) -> None:
    server.answers = [status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), whole]
    _, waits = fetch_one(tmp_path)
    assert waits == [0.0]


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server: _Server, tmp_path: Path) -> None:
    server.answers = [status(429, Retry_After="3600")]
    with pytest.raises(DownloadError, match="wait 3600 s"):
        fetch_one(tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize(("code", "says"), [(404, "no such file"), (410, "no such file"), (403, "refused")])
def test_lasting_faults_are_not_tried_again(server: _Server, tmp_path: Path, code: int, says: str) -> None:
    server.answers = [status(code)]
    with pytest.raises(DownloadError, match=says) as caught:
        fetch_one(tmp_path)
    assert URL in str(caught.value)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<!DOCTYPE html><html>Under maintenance</html>", "web page"),
        (b"plain text", "not gzip"),
        (b"", "empty"),
        (BODY[:HALF], "damaged"),
        (BODY[:-6] + b"\x00" * 6, "damaged"),
    ],
)
def test_what_is_not_the_file_is_refused(server: _Server, tmp_path: Path, body: bytes, says: str) -> None:
    server.answers = [lambda handler: handler.reply(200, body)]
    with pytest.raises(DownloadError, match=says):
        fetch_one(tmp_path)
    assert list((tmp_path / "lab").iterdir()) == []


def test_page_is_refused_by_its_type(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, b"sorry", Content_Type="text/html; charset=utf-8")]
    with pytest.raises(DownloadError, match="web page"):
        fetch_one(tmp_path)


def test_page_does_not_replace_the_good_file(server: _Server, tmp_path: Path) -> None:
    server.answers = [whole, lambda handler: handler.reply(200, b"<html>moved</html>")]
    fetch_one(tmp_path)
    with pytest.raises(DownloadError, match="web page"):
        fetch_one(tmp_path)
    assert (tmp_path / "lab" / "table.txt.gz").read_bytes() == BODY
    assert read_receipt(tmp_path / "lab" / "table.txt.gz") is not None


def test_gzip_of_several_members(server: _Server, tmp_path: Path) -> None:
    body = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    server.answers = [lambda handler: handler.reply(200, body)]
    done, _ = fetch_one(tmp_path)
    assert gzip.decompress(done.file.read_bytes()) == b"one\ntwo\n"


def test_unchanged_file_is_not_fetched_again(server: _Server, tmp_path: Path) -> None:
    server.answers = [whole]
    first, _ = fetch_one(tmp_path)
    again, _ = fetch_one(tmp_path)
    assert (first.status, again.status) == ("downloaded", "unchanged")
    assert server.asked[1][1]["If-None-Match"] == '"one"'
    assert again.receipt == first.receipt


def test_server_without_conditions_but_with_the_same_etag(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, BODY, ETag='"one"')]
    fetch_one(tmp_path)
    again, _ = fetch_one(tmp_path)
    assert again.status == "unchanged"


def test_newer_file_replaces(server: _Server, tmp_path: Path) -> None:
    new = gzip.compress(b"newer\n" * 100, mtime=0)
    server.answers = [whole, lambda handler: whole(handler, '"two"', new)]
    fetch_one(tmp_path)
    again, _ = fetch_one(tmp_path)
    assert again.status == "downloaded"
    assert again.file.read_bytes() == new
    assert again.receipt.sha256 == hashlib.sha256(new).hexdigest()


def test_damaged_file_is_fetched_again(server: _Server, tmp_path: Path) -> None:
    server.answers = [whole]
    first, _ = fetch_one(tmp_path)
    damaged = bytearray(BODY)
    damaged[100] ^= 1
    first.file.write_bytes(damaged)
    again, _ = fetch_one(tmp_path)
    assert again.status == "downloaded"
    assert again.file.read_bytes() == BODY


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match="no connection.*tried 2 times"):
        fetch_one(tmp_path, tries=2)


def test_full_disk_before_a_byte_is_written(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, b"x", length=1 << 60)]
    with pytest.raises(DownloadError, match="disk is full"):
        fetch_one(tmp_path)
    assert not (tmp_path / "lab" / "table.txt.gz").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux) as a disk that is full")
def test_full_disk_while_writing(server: _Server, tmp_path: Path) -> None:
    server.answers = [whole]
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "table.txt.gz.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match="disk is full"):
        fetch_one(tmp_path)


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be made"):
        fetch_one(tmp_path / "file" / "below")


def test_two_downloads_into_one_directory(tmp_path: Path) -> None:
    with exclusive(tmp_path / ".download.lock", "a download"), pytest.raises(LockHeldError, match="under way"):
        fetch_one(tmp_path)


def test_version_from_the_providers_service(server: _Server, tmp_path: Path) -> None:
    probe = Probe("http://data.example.org/version", re.compile(r"^(\d+)$"))
    address = Address("lab", "table.{version}.txt.gz", current=URL, probe=probe)
    server.answers = [lambda handler: handler.reply(200, b"91"), whole]
    done, _ = fetch_one(tmp_path, address=address)
    assert done.file.name == "table.91.txt.gz"
    assert (done.receipt.version, done.receipt.version_found) == ("91", "http://data.example.org/version")


def test_service_that_is_down_leaves_the_file_undated(server: _Server, tmp_path: Path) -> None:
    address = Address("lab", "table.txt.gz", current=URL, probe=Probe("http://a.example.org/v", re.compile("(.*)")))
    server.answers = [status(404), whole]
    done, _ = fetch_one(tmp_path, address=address)
    assert done.receipt.version == "undated"


def test_version_from_the_servers_date(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, BODY, Last_Modified="Tue, 23 Jul 2024 10:00:00 GMT")]
    done, _ = fetch_one(tmp_path, address=Address("lab", "table.txt.gz", current=URL, dated=True))
    assert (done.receipt.version, done.receipt.version_found) == ("2024-07-23", "Last-Modified")


def test_version_from_the_files_header(server: _Server, tmp_path: Path) -> None:
    if "gene_ontology" not in importers():
        pytest.fail("the gene_ontology importer is not registered")
    body = b"format-version: 1.2\ndata-version: releases/2024-01-17\n\n[Term]\nid: GO:0008150\n"
    server.answers = [lambda handler: handler.reply(200, body)]
    address = next(one for one in ADDRESSES if one.file == "go-basic.obo")
    done, _ = fetch_one(tmp_path, address=address)
    assert (done.receipt.version, done.receipt.version_found) == ("2024-01-17", "file header")


def test_release_asked_for_stands_beside_the_current_one(server: _Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.reply(200, BODY)]
    address = Address("lab", "table.txt.gz", current=URL, release="http://old.example.org/{version}/table.txt.gz")
    with Fetcher(sleep=lambda _: None) as fetcher:
        (done,) = download(plan(["lab"], versions={"lab": "90"}, addresses=[address]), tmp_path, fetcher)
    assert done.file.name == "table.90.txt.gz"
    assert server.asked[0][0] == "/old.example.org/90/table.txt.gz"
    assert done.receipt.version_found == "given by --version"


def test_orders_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="did you mean string"):
        plan(["strin"])
    with pytest.raises(UsageError, match="only its current release"):
        plan(["hgnc"], versions={"hgnc": "2020"})
    with pytest.raises(UsageError, match="not among"):
        plan(["hgnc"], versions={"string": "11.0"})


def test_optional_files_are_left_out() -> None:
    usual = {order.address.file for order in plan(["string"])}
    every = {order.address.file for order in plan(["string"], optional=True)}
    assert "9606.protein.links.v{version}.txt.gz" in usual
    assert "9606.protein.aliases.v{version}.txt.gz" in every - usual


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.file)
def test_every_address_gives_a_file_that_its_importer_reads(address: Address) -> None:
    importer = importers()[address.provider]
    release = {"gene_ontology": "2024-01-17", "reactome": "91"}.get(address.provider, "12.0")
    names = [_file_name(address, None, release)]
    if address.release:
        names.append(_file_name(address, release, release))
    for name in names:
        fits = [found for kind in importer.files if (found := matches(kind, name))]
        assert len(fits) == 1, f"{address.provider} does not know {name}"
        if name != address.file:
            assert fits[0]["version"] == release
    assert address.current or (address.release and address.newest)
    assert all(url.startswith("https://") for url in (address.current, address.release) if url)


def test_undated_file_comes_from_the_newest_release() -> None:
    template = published("reactome", "UniProt2Reactome.txt")
    assert at_version(template, "91") == "https://reactome.org/download/91/UniProt2Reactome.txt"
    assert at_version(template, "undated") == "https://reactome.org/download/current/UniProt2Reactome.txt"
    assert at_version("https://example.org/{version}/x", "undated") == ""
    assert at_version("https://example.org/x", "undated") == "https://example.org/x"


def test_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://host.example.org/a/b?file=x&format=txt"
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    assert through_mirror(url) == url
    monkeypatch.setenv(BASE_VARIABLE, "https://mirror.example.org/data/")
    assert through_mirror(url) == "https://mirror.example.org/data/host.example.org/a/b?file=x&format=txt"


def test_receipt_of_another_file_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "table.txt"
    file.write_text("now longer")
    receipt = Receipt(
        url=URL, final_url=URL, retrieved_at="2024-01-01T00:00:00+00:00", bytes=3, sha256="", version="1",
        version_found="address",
    )  # fmt: skip
    receipt_path(file).write_text(receipt.model_dump_json())
    assert read_receipt(file) is None
    receipt_path(file).write_text("{")
    assert read_receipt(file) is None


def test_command(server: _Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers = [lambda handler: handler.reply(200, b"hgnc_id\tsymbol\nHGNC:5\tA1BG\n")]
    assert run(["download", "hgnc", "--to", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [file["status"] for file in said["files"]] == ["downloaded", "downloaded"]
    assert (tmp_path / "hgnc" / "hgnc_complete_set.txt").exists()


def test_command_says_one_sentence(
    server: _Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [status(404)]
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    assert run(["download", "hgnc", "--to", str(tmp_path)]) == 1
    assert "no such file" in capsys.readouterr().err
