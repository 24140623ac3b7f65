"""Finding, dating and choosing files: on importers made for the test, and on the providers' real names."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from aroma.errors import InputFileError, UsageError
from aroma.importers.base import FileKind, ImportBatch, ImportContext, Importer, ProviderCard, ProviderFile
from aroma.importers.discover import HEAD_BYTES, Discovery, discover, human_pattern, read_head
from aroma.importers.lines import TextFile
from aroma.importers.receipts import Receipt, receipt_path
from aroma.importers.registry import importer, importers, reading_order
from aroma.importers.versions import parse_pins, version_key

VERSION = r"(?P<version>\d[\w.-]*?)"


def card(name: str) -> ProviderCard:
    return ProviderCard(name, name.title(), "https://example.org", "CC0", "https://example.org/licence", True)


class _Reads(Importer):
    parser_version = "1"

    def read(self, files: tuple[ProviderFile, ...], context: ImportContext) -> ImportBatch:
        raise AssertionError("discovery reads no file")


class Terms(_Reads):
    """Two kinds, one with a header that states its version; needs the names first."""

    card = card("terms")
    files = (
        FileKind("obo", re.compile(rf"terms(?:\.{VERSION})?\.obo(\.gz)?")),
        FileKind("gaf", re.compile(rf"lines(?:\.{VERSION})?\.gaf"), required=False),
    )
    after = ("names", "absent")

    def header_version(self, kind: str, text: TextFile) -> str | None:
        return next((line.split()[1] for line in text.head() if line.startswith("version")), None)


class Names(_Reads):
    card = card("names")
    files = (FileKind("names", re.compile(rf"names(?:\.v{VERSION})?\.txt(\.gz)?")),)


class Complexes(_Reads):
    """Two alternatives, of which the newest is read."""

    card = card("complexes")
    files = (
        FileKind("all", re.compile(rf"all\.{VERSION}\.txt"), group="set"),
        FileKind("core", re.compile(rf"core\.{VERSION}\.txt"), group="set"),
    )

    def select(self, files: tuple[ProviderFile, ...]) -> tuple[ProviderFile, ...]:
        return (max(files, key=lambda file: version_key(file.version)),)


class Lines(_Reads):
    card = card("lines")
    files = (FileKind("table", re.compile(r"(one|two)\.csv"), many=True),)


KNOWN: dict[str, Importer] = {each.card.name: each for each in (Terms(), Names(), Complexes(), Lines())}


def find(directory: Path, *pins: str) -> Discovery:
    return discover(directory, pins=parse_pins(pins), importers=KNOWN)


def put(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\n")


def chosen(found: Discovery) -> dict[str, str]:
    """File name by ``provider.kind``."""
    return {f"{name}.{file.kind}": file.path.name for name, files in found.selected.items() for file in files}


def test_newest_of_each_kind_in_subfolders(tmp_path: Path) -> None:
    put(tmp_path, "a/names.v9.5.txt", "b/c/names.v10.0.txt", "terms.2021-12-15.obo", "terms.2022-07-01.obo")
    found = find(tmp_path)
    assert chosen(found) == {"names.names": "names.v10.0.txt", "terms.obo": "terms.2022-07-01.obo"}
    assert found.reasons() == {
        "a/names.v9.5.txt": "names names: version 9.5, and 10.0 is newer",
        "terms.2021-12-15.obo": "terms obo: version 2021-12-15, and 2022-07-01 is newer",
    }
    assert found.absent == ("complexes", "lines")


def test_providers_come_after_those_they_need(tmp_path: Path) -> None:
    put(tmp_path, "terms.1.obo", "names.txt", "one.csv")
    assert list(find(tmp_path).selected) == ["names", "terms", "lines"]


def test_versions_in_natural_order() -> None:
    ordered = ["undated", "4.1", "9", "11.0", "11.5", "12.0", "12.0.union", "2021-12-15", "2022-07-01", "2022-11-01"]
    ordered.reverse()
    assert sorted(ordered, key=version_key) == ordered[::-1]
    assert version_key("v12.0") == version_key("12.0")


def test_header_before_receipt_before_name(tmp_path: Path) -> None:
    put(tmp_path, "names.v3.txt", "terms.1.obo", "lines.7.gaf")
    (tmp_path / "terms.1.obo").write_text("version 2020-01-01\n")
    for name in ("names.v3.txt", "terms.1.obo"):
        _receipt(tmp_path / name, "5")
    found = {
        file.kind: (file.version, file.version_found) for files in find(tmp_path).selected.values() for file in files
    }
    assert found == {
        "obo": ("2020-01-01", "file header"),
        "names": ("5", "receipt"),
        "gaf": ("7", "file name"),
    }


def test_file_without_any_version_is_undated(tmp_path: Path) -> None:
    put(tmp_path, "names.txt")
    (file,) = find(tmp_path).selected["names"]
    assert (file.version, file.version_found) == ("undated", "undated")


def test_receipt_of_other_bytes_is_not_believed(tmp_path: Path) -> None:
    put(tmp_path, "names.v3.txt")
    _receipt(tmp_path / "names.v3.txt", "5", size=1)
    (file,) = find(tmp_path).selected["names"]
    assert (file.version, file.version_found) == ("3", "file name")


def test_header_of_a_gzip_is_read_without_the_rest(tmp_path: Path) -> None:
    whole = gzip.compress(b"version 2024-05-05\n" + bytes(range(256)) * 40_000)
    (tmp_path / "terms.obo.gz").write_bytes(whole[: len(whole) // 2])  # cut off: the head is there
    (file,) = find(tmp_path).selected["terms"]
    assert (file.version, file.version_found) == ("2024-05-05", "file header")
    head = read_head(tmp_path / "terms.obo.gz")
    assert head is not None
    assert len(head.data) <= HEAD_BYTES


def test_damaged_head_does_not_stop_discovery(tmp_path: Path) -> None:
    (tmp_path / "terms.3.obo.gz").write_bytes(b"\x1f\x8b\x08\x00garbage that is no deflate stream")
    (file,) = find(tmp_path).selected["terms"]
    assert file.version == "3"


def test_pin_takes_the_kinds_that_have_it(tmp_path: Path) -> None:
    put(tmp_path, "terms.1.obo", "terms.2.obo", "lines.7.gaf", "lines.8.gaf")
    expected = {"terms.obo": "terms.1.obo", "terms.gaf": "lines.8.gaf"}
    assert chosen(find(tmp_path, "terms=1")) == expected
    assert chosen(find(tmp_path, "terms.obo=1")) == expected
    assert chosen(find(tmp_path, "terms=1", "terms.gaf=7"))["terms.gaf"] == "lines.7.gaf"
    assert "2 is" not in str(find(tmp_path, "terms=1").reasons()["terms.2.obo"])
    assert find(tmp_path, "terms=1").reasons()["terms.2.obo"] == "terms obo: version 2, and 1 is pinned"


def test_pin_of_one_alternative_drops_the_other(tmp_path: Path) -> None:
    put(tmp_path, "all.3.0.txt", "core.4.1.txt")
    assert chosen(find(tmp_path)) == {"complexes.core": "core.4.1.txt"}
    pinned = find(tmp_path, "complexes=3.0")
    assert chosen(pinned) == {"complexes.all": "all.3.0.txt"}
    assert pinned.reasons() == {"core.4.1.txt": "complexes core: another kind is pinned: all"}
    assert "not read together with core.4.1.txt" in find(tmp_path).reasons()["all.3.0.txt"]


def test_pin_names_the_version_of_files_that_do_not_say_it(tmp_path: Path) -> None:
    put(tmp_path, "names.txt")
    (file,) = find(tmp_path, "names=91").selected["names"]
    assert (file.version, file.version_found) == ("91", "given by --pin")


@pytest.mark.parametrize(
    ("pin", "says"),
    [
        ("nmaes=1", "did you mean names"),
        ("zzz=1", "there are: complexes, lines, names, terms"),
        ("terms.owl=1", "no kind of file 'owl'"),
        ("terms=3", "there are: 8, 2, 1"),
        ("terms.obo=8", "there are: 2, 1"),
        ("complexes=1", "no file of complexes"),
        ("terms", "write PROVIDER=VERSION"),
        ("terms=", "write PROVIDER=VERSION"),
    ],
)
def test_pins_that_fit_nothing(tmp_path: Path, pin: str, says: str) -> None:
    put(tmp_path, "terms.1.obo", "terms.2.obo", "lines.8.gaf")
    with pytest.raises(UsageError, match=re.escape(says)):
        find(tmp_path, pin)


def test_pins_that_contradict() -> None:
    with pytest.raises(UsageError, match="both 1 and 2"):
        parse_pins(["terms=1", "terms=2"])
    assert parse_pins(["terms=1", "terms = 1"]) == {"terms": "1"}


def test_two_different_files_of_one_version(tmp_path: Path) -> None:
    put(tmp_path, "a/terms.1.obo", "b/terms.1.obo")
    (tmp_path / "b/terms.1.obo").write_text("other\n")
    with pytest.raises(InputFileError) as caught:
        find(tmp_path)
    assert "a/terms.1.obo" in str(caught.value)
    assert "b/terms.1.obo" in str(caught.value)


def test_two_copies_of_one_file(tmp_path: Path) -> None:
    put(tmp_path, "names.v1.txt")
    (tmp_path / "names.v1.txt.gz").write_bytes(gzip.compress((tmp_path / "names.v1.txt").read_bytes()))
    found = find(tmp_path)
    assert chosen(found) == {"names.names": "names.v1.txt"}
    assert "the same content" in found.reasons()["names.v1.txt.gz"]


def test_several_files_of_one_kind_read_together(tmp_path: Path) -> None:
    put(tmp_path, "one.csv", "two.csv")
    assert [file.path.name for file in find(tmp_path).selected["lines"]] == ["one.csv", "two.csv"]


def test_required_kind_that_is_missing(tmp_path: Path) -> None:
    put(tmp_path, "lines.7.gaf")
    with pytest.raises(InputFileError) as caught:
        find(tmp_path)
    assert all(
        part in str(caught.value) for part in (str(tmp_path), "'obo'", "terms[.<version>].obo[.gz]", "lines.7.gaf")
    )


def test_nothing_recognised(tmp_path: Path) -> None:
    put(tmp_path, "README.md", ".hidden/names.txt")
    with pytest.raises(UsageError, match="names\\[.v<version>\\].txt") as caught:
        find(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        find(tmp_path / "nowhere")


def test_what_is_left_of_a_download(tmp_path: Path) -> None:
    put(tmp_path, "names.txt", "terms.1.obo.part", "terms.1.obo.part.json", "notes.txt")
    assert find(tmp_path).reasons() == {
        "notes.txt": "no provider has files of this name",
        "terms.1.obo.part": "an unfinished download; run aroma download again",
    }


def test_links_that_go_in_circles(tmp_path: Path) -> None:
    put(tmp_path, "data/names.txt")
    (tmp_path / "data" / "again").symlink_to(tmp_path)
    assert [file.path.name for file in find(tmp_path).selected["names"]] == ["names.txt"]


def test_bundled_file_where_the_directory_has_none(tmp_path: Path) -> None:
    class Bundled(Names):
        card = card("bundled")
        bundled = tmp_path / "package" / "names.v2.txt"

    put(tmp_path, "package/names.v2.txt", "data/one.csv")
    known = {"bundled": Bundled(), "lines": Lines()}
    found = discover(tmp_path / "data", importers=known)
    assert chosen(found) == {"bundled.names": "names.v2.txt", "lines.table": "one.csv"}
    put(tmp_path, "data/names.v1.txt")
    assert chosen(discover(tmp_path / "data", importers=known))["bundled.names"] == "names.v1.txt"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no provider's file"):
        discover(tmp_path / "empty", importers=known)


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        (r"9606\.protein\.links\.v(?P<version>.+?)\.txt(\.gz)?", "9606.protein.links.v<version>.txt[.gz]"),
        (r"set(?:[._-](?P<version>\d{4}(?:-\d{2}){2}))?\.(txt|tsv)", "set[.<version>].(txt|tsv)"),
        (r"K562\.csv", "K562.csv"),
    ],
)
def test_patterns_for_people(pattern: str, shown: str) -> None:
    assert human_pattern(FileKind("any", re.compile(pattern))) == shown


def test_unknown_importer() -> None:
    with pytest.raises(UsageError, match="did you mean hgnc"):
        importer("hgncc")
    assert importer("hgnc").card.name == "hgnc"


def test_importers_that_wait_for_each_other() -> None:
    class First(Names):
        card = card("first")
        after = ("second",)

    class Second(Names):
        card = card("second")
        after = ("first",)

    with pytest.raises(UsageError, match="wait for each other"):
        reading_order(["first", "second"], {"first": First(), "second": Second()})


REAL = {
    "string/9606.protein.links.v11.0.txt.gz": ("string", "11.0"),
    "string/9606.protein.links.v12.0.union.txt.gz": ("string", "12.0.union"),
    "string/9606.protein.links.full.v12.0.txt.gz": ("string", "12.0"),
    "string/9606.protein.info.v12.0.txt.gz": ("string", "12.0"),
    "corum/allComplexes.3.0.txt.gz": ("corum", "3.0"),
    "corum/coreComplexes.4.1.txt.gz": ("corum", "4.1"),
    "go/go-basic.2021-12-15.obo.gz": ("gene_ontology", "2021-12-15"),
    "go/go-basic.2022-07-01.obo.gz": ("gene_ontology", "2022-07-01"),
    "go/goa_human.2022-09-12.gaf.gz": ("gene_ontology", "2022-09-12"),
    "reactome/ReactomePathways.txt.gz": ("reactome", "undated"),
    "reactome/ReactomePathwaysRelation.txt.gz": ("reactome", "undated"),
    "reactome/UniProt2Reactome.txt.gz": ("reactome", "undated"),
    "hgnc/hgnc_complete_set.2024-07-23.txt.gz": ("hgnc", "2024-07-23"),
    "hgnc/withdrawn.2024-07-23.txt.gz": ("hgnc", "2024-07-23"),
    "uniprot/UP000005640_9606.fasta.gz": ("uniprot", "undated"),
}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Files with the providers' names (their content is another test's matter)."""
    for name in REAL:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(f"text of {name}\n".encode()))
    return tmp_path


def test_the_providers_own_names(mirror: Path) -> None:
    found = discover(mirror)
    taken = {str(file.path.relative_to(mirror)): (name, file.version) for name, file in _files(found, mirror)}
    newest = set(REAL) - {
        "string/9606.protein.links.v11.0.txt.gz",
        "corum/allComplexes.3.0.txt.gz",
        "go/go-basic.2021-12-15.obo.gz",
    }
    assert taken == {name: REAL[name] for name in newest}
    assert set(found.reasons()) == set(REAL) - newest


def test_the_refresh_by_pins(mirror: Path) -> None:
    found = discover(mirror, pins={"corum": "3.0", "gene_ontology": "2021-12-15", "string": "11.0"})
    taken = {str(file.path.relative_to(mirror)) for _, file in _files(found, mirror)}
    assert "corum/allComplexes.3.0.txt.gz" in taken
    assert "corum/coreComplexes.4.1.txt.gz" not in taken
    assert "go/go-basic.2021-12-15.obo.gz" in taken
    assert "go/goa_human.2022-09-12.gaf.gz" in taken
    assert "string/9606.protein.links.v11.0.txt.gz" in taken
    assert "string/9606.protein.links.v12.0.union.txt.gz" not in taken


def _files(found: Discovery, below: Path) -> list[tuple[str, ProviderFile]]:
    return [(name, file) for name, files in found.selected.items() for file in files if file.path.is_relative_to(below)]


def _receipt(file: Path, version: str, size: int | None = None) -> None:
    receipt = Receipt(
        url="https://example.org/x",
        final_url="https://example.org/x",
        retrieved_at="2024-01-01T00:00:00+00:00",
        bytes=file.stat().st_size if size is None else size,
        sha256="0" * 64,
        version=version,
        version_found="address",
    )
    receipt_path(file).write_text(receipt.model_dump_json())


def test_every_provider_has_an_importer() -> None:
    expected = {"hgnc", "uniprot", "string", "corum", "complex_portal", "gene_ontology", "reactome", "perturbqa"}
    assert expected <= set(importers())
