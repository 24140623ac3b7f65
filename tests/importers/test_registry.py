"""A lab's own package adds a provider by an entry point, without a change here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.errors import UsageError
from aroma.importers.registry import importers

MODULE = """
import re
from aroma.importers.base import FileKind, ImportBatch, Importer, ProviderCard


class LabImporter(Importer):
    card = ProviderCard("{name}", "Our lab", "https://example.org", "CC0", "https://example.org/licence", True)
    files = (FileKind("table", re.compile(r"lab\\.tsv")),)
    parser_version = "1"

    def read(self, files, context):
        raise NotImplementedError


class NoImporter:
    pass
"""


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    importers.cache_clear()
    yield
    importers.cache_clear()
    sys.modules.pop("lab_package", None)


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, *, target: str, name: str = "lab") -> None:
    """Install a package by hand: a module and the metadata that pip writes beside it."""
    (directory / "lab_package.py").write_text(MODULE.replace("{name}", name))
    info = directory / "lab_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[aroma.importers]\nlab = {target}\n")
    monkeypatch.syspath_prepend(str(directory))


def test_entry_point_adds_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, target="lab_package:LabImporter")
    assert list(importers())[-1] == "lab"
    assert importers()["lab"].card.title == "Our lab"


@pytest.mark.parametrize(
    ("target", "name", "says"),
    [
        ("lab_package:Missing", "lab", "cannot be loaded"),
        ("no_such_package:LabImporter", "lab", "cannot be loaded"),
        ("lab_package:NoImporter", "lab", "no subclass"),
        ("lab_package:LabImporter", "hgnc", "there already"),
    ],
)
def test_entry_points_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, name: str, says: str
) -> None:
    install(tmp_path, monkeypatch, target=target, name=name)
    with pytest.raises(UsageError, match=says):
        importers()
