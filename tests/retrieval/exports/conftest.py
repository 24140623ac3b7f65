"""A small home to export, and running an export as the command does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aroma.kgstore.home import Home
from aroma.retrieval.exports.run import ExportRequest, run_export
from tests.support.homes import home_of_tables
from tests.support.small_release import small_release


@dataclass(frozen=True)
class Exported:
    """Where an export is, and its card."""

    out: Path
    card: dict[str, Any]


@pytest.fixture(scope="session")
def export_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with the small release by hand, whose CORUM forbids commercial use; do not write to it."""
    return home_of_tables(tmp_path_factory.mktemp("export") / "home", small_release())


@pytest.fixture
def export(export_home: Home, tmp_path: Path) -> Callable[..., Exported]:
    """Export the small release in a format and return where, with the card."""

    def make(name: str, out: str = "out", home: Home = export_home, **asked: Any) -> Exported:
        place = tmp_path / out
        return Exported(place, run_export(home, ExportRequest(name, place, **asked)))

    return make
