"""One home with vectors of every modality, and a tiny model over it, for all tests of AROMA.

Tiny models are computed with one thread: more cost time on a busy machine and bring none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from aroma.kgstore.home import Home
from aroma.model.ground import Ground
from aroma.retrieval.evidence import EvidenceStore


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread for the session."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def aroma_home(home_with_vectors: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The sample home with graph and protein vectors (amino-acid composition); do not write to it."""
    from tests.support.tiny_aroma import embed_proteins

    home = Home(tmp_path_factory.mktemp("aroma") / "home")
    shutil.copytree(home_with_vectors.path, home.path)
    embed_proteins(home)
    return home


@pytest.fixture(scope="session")
def aroma_ground(aroma_home: Home) -> Ground:
    return Ground(aroma_home)


@pytest.fixture(scope="session")
def aroma_store(aroma_home: Home, planted_outcomes) -> EvidenceStore:
    """Evidence with contrast from planted outcomes."""
    return EvidenceStore(aroma_home, outcomes=planted_outcomes)


@pytest.fixture(scope="session")
def tiny_options():
    from tests.support.tiny_aroma import options_of

    return options_of()


@pytest.fixture(scope="session")
def bank(aroma_ground: Ground, tiny_options):
    from aroma.model.aroma.modalities import ModalityBank

    return ModalityBank.open(aroma_ground, tiny_options)


@pytest.fixture(scope="session")
def tiny_model(tiny_options, bank):
    """A tiny Qwen3 with an adapter whose weights are far from the start, in evaluation mode; do not train it."""
    from tests.support.tiny_aroma import make_tiny

    return make_tiny(tiny_options, bank)
