"""A small training that several files of tests look at; PyTorch is imported only by tests that need it."""

import sys

import pytest

from tests.support.homes import home_of_files


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Small graphs in one thread: on a busy machine threads that wait for one another take minutes."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0
    if torch:
        torch.set_num_threads(1)
    yield
    if torch:
        torch.set_num_threads(before)


@pytest.fixture(scope="package")
def small_gat():
    """Options that train in a second on the sample release."""
    from aroma.model.embeddings.gat_model import GatOptions

    return GatOptions(
        view="path-kg", input_dim=16, hidden=8, heads=2, dim=16, decoder=16, dropout=0.1, rate=0.02, epochs=4
    )


@pytest.fixture(scope="package")
def trained_gat(tmp_path_factory, small_gat):
    """A home of the sample release, and the vector set that a whole run published in it."""
    from aroma.model.embeddings.gat_runs import plan_gat, published_gat, work_on_gat
    from aroma.model.embeddings.runs import embeddings_ledger

    home = home_of_files(tmp_path_factory.mktemp("gat") / "home")
    ledger = embeddings_ledger(home)
    run = plan_gat(home, ledger, None, small_gat)
    assert work_on_gat(home, ledger, run.id) == 1
    return home, published_gat(home, str(run.facts["release"]), run.id)
