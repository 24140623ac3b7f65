"""The application over the bundled samples, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from aroma.api.app import create_app
from aroma.api.settings import Limits, Settings
from aroma.kgstore.home import Home


@pytest.fixture(scope="session")
def api(sample_home: Home) -> Iterator[TestClient]:
    """A client of the application; errors of the application come back as answers."""
    settings = Settings(home=sample_home.path, limits=Limits(body_bytes=200_000, batch_pairs=500))
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
