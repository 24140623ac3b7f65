"""The curation log: what is written stays, what was tampered with is found, and replaying gives one state."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aroma.errors import CurationError, CurationLogError, UsageError
from aroma.kgstore.curation import Entry, State, check_date, check_orcid, check_reason, check_reference, replay
from aroma.kgstore.curation_log import encode, number, open_log, read_log, read_settings
from aroma.kgstore.home import Home
from tests.support.curating import ANNA, BEN


def draft(kind="assert", curator=ANNA, **said):
    return Entry(kind=kind, curator=curator, reason="because", date="2026-01-02", **said)


EDGE = {"subject": "HGNC:1", "relation": "MEMBER_OF", "object": "CORUM:1"}


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def write(home, *drafts):
    with open_log(home) as log:
        return log.append(drafts)


@pytest.mark.parametrize("given", [ANNA, f"https://orcid.org/{ANNA}", f"ORCID:{ANNA}", f" {ANNA} "])
def test_an_orcid_is_taken_in_all_its_spellings(given):
    assert check_orcid(given) == ANNA
    assert check_orcid("0000-0002-1694-233x") == "0000-0002-1694-233X"


@pytest.mark.parametrize("given", ["0000-0002-1825-0098", "0000-0002-1285-0097", "anna", "", "0000-0002-1694-2331"])
def test_a_mistyped_orcid_is_refused(given):
    with pytest.raises(CurationError, match="no ORCID"):
        check_orcid(given)


def test_references_reasons_and_days_are_checked():
    assert [
        check_reference(one) for one in ("pmid: 12", "PMID:12", "https://doi.org/10.1000/a(b)", "doi:10.1000/x")
    ] == [
        "PMID:12",
        "PMID:12",
        "DOI:10.1000/a(b)",
        "DOI:10.1000/x",
    ]
    for bad in ("12", "PMID:0", "PMID:x", "10.1/x", "DOI:11.1000/x", "see the paper"):
        with pytest.raises(CurationError, match="neither a PubMed id"):
            check_reference(bad)
    assert check_reason(" a\n b ") == "a b"
    with pytest.raises(CurationError, match="reason is needed"):
        check_reason(" \n")
    assert check_date("2020-02-29") == "2020-02-29"
    for bad in ("2021-02-29", "yesterday", "9999-01-01"):
        with pytest.raises(CurationError, match="date"):
            check_date(bad)


def test_entries_come_back_as_written_and_have_the_same_id_in_every_home(home, tmp_path):
    made = write(home, draft(**EDGE), draft("revoke", of="C0"), draft(**EDGE))
    assert read_log(home) == made
    assert len({entry.id for entry in made}) == 3
    elsewhere = write(Home(tmp_path / "other"), draft(**EDGE))
    assert elsewhere[0].id == made[0].id
    assert [entry.previous for entry in made] == ["", made[0].sha256, made[1].sha256]


def test_a_crash_at_any_byte_of_the_last_line_loses_no_earlier_entry(home, tmp_path):
    first = write(home, draft(**EDGE), draft("retract", **EDGE, provider="corum"))
    head = (home.curation / "head.json").read_bytes()
    whole = (home.curation / "log.jsonl").read_bytes()
    last = encode(write(home, draft("revoke", of=first[0].id))[0]) + b"\n"
    for cut in range(len(last)):
        other = Home(tmp_path / f"cut{cut}")
        other.curation.mkdir(parents=True)
        (other.curation / "log.jsonl").write_bytes(whole + last[:cut])
        (other.curation / "head.json").write_bytes(head)
        kept = 3 if cut == len(last) - 1 else 2  # only the line end is missing: the entry is whole
        assert len(read_log(other)) == kept
        with open_log(other) as log:
            assert (log.repaired is None) == (cut == 0 or kept == 3)
            log.append([draft(**EDGE, references=("PMID:1",))])
        assert [entry.line for entry in read_log(other)] == list(range(1, kept + 2))
        assert read_log(other)[:2] == first


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda lines: [lines[0].replace(b"because", b"becausE"), *lines[1:]], "line 1: it was changed"),
        (lambda lines: lines[1:], "line 1: it does not follow"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 2: it does not follow"),
        (lambda lines: lines[:2], "it had 3 entries and now has 2"),
        (lambda lines: [], "it had 3 entries and now has 0"),
        (lambda lines: [lines[0], b'{"kind": 1}', *lines[1:]], "line 2: no entry"),
        (lambda lines: [lines[0], lines[1].replace(b",", b", ", 1), lines[2]], "line 2: it was changed"),
        (lambda lines: [lines[0], b"\xff", *lines[1:]], "line 2"),
    ],
)
def test_a_hand_in_the_log_is_found(home, spoil, problem):
    write(home, draft(**EDGE), draft("retract", **EDGE, provider="corum"), draft("revoke", of="C0"))
    path = home.curation / "log.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in spoil(path.read_bytes().splitlines())))
    with pytest.raises(CurationLogError, match=problem), open_log(home):
        pass
    with pytest.raises(CurationLogError, match=problem):
        read_log(home)


def test_a_rewritten_log_is_found_by_its_head(home, tmp_path):
    write(home, draft(**EDGE))
    other = Home(tmp_path / "other")
    write(other, draft(**EDGE, references=("PMID:1",)))
    (home.curation / "log.jsonl").write_bytes((other.curation / "log.jsonl").read_bytes())
    with pytest.raises(CurationLogError, match="last ones were replaced"):
        read_log(home)


def test_review_is_a_setting_of_the_home_or_the_environment(home, monkeypatch):
    assert not read_settings(home).review
    home.curation.mkdir(parents=True)
    (home.curation / "settings.json").write_text('{"review": true}')
    assert read_settings(home).review
    monkeypatch.setenv("AROMA_CURATION_REVIEW", "0")
    assert not read_settings(home).review
    monkeypatch.setenv("AROMA_CURATION_REVIEW", "maybe")
    with pytest.raises(UsageError, match="set it to 1 or 0"):
        read_settings(home)
    (home.curation / "settings.json").write_text('{"reviews": true}')
    with pytest.raises(UsageError, match=r"settings\.json: not understood"):
        read_settings(home)


def states(*drafts, review=False):
    return [one.state for one in replay(number(drafts, []), review=review)]


def of(*drafts):
    return number(drafts, [])[0].id


def test_without_review_an_entry_counts_until_it_is_revoked_or_rejected():
    first = draft(**EDGE)
    entry = of(first)
    assert states(first) == [State.IN_FORCE]
    assert states(first, draft("revoke", of=entry)) == [State.REVOKED]
    rejected = draft("review", BEN, of=entry, decision="reject")
    assert states(first, rejected) == [State.REJECTED]
    assert states(first, rejected, draft("review", BEN, of=entry, decision="approve")) == [State.IN_FORCE]


def test_with_review_an_entry_and_its_revocation_wait_for_another_person():
    first = draft(**EDGE)
    entry = of(first)
    approved = draft("review", BEN, of=entry, decision="approve")
    revoked = draft("revoke", of=entry)
    revocation = number([first, approved, revoked], [])[2].id
    assert states(first, review=True) == [State.WAITING]
    assert states(first, approved, review=True) == [State.IN_FORCE]
    assert states(first, revoked, review=True) == [State.REVOKED]  # it was never in force
    assert states(first, approved, revoked, review=True) == [State.IN_FORCE]
    agreed = draft("review", BEN, of=revocation, decision="approve")
    assert states(first, approved, revoked, agreed, review=True) == [State.REVOKED]
    refused = draft("review", BEN, of=revocation, decision="reject")
    assert states(first, approved, revoked, refused, review=True) == [State.IN_FORCE]


@st.composite
def sequences(draw):
    """Any sequence of entries, each about an earlier one where it has to be."""
    drafts: list[Entry] = []
    for _ in range(draw(st.integers(1, 12))):
        made = number(drafts, [])
        curator = draw(st.sampled_from([ANNA, BEN]))
        kinds = ["assert", "retract"] + (["revoke", "review"] if made else [])
        kind = draw(st.sampled_from(kinds))
        if kind in {"assert", "retract"}:
            drafts.append(draft(kind, curator, **EDGE, provider="" if kind == "assert" else "corum"))
        else:
            decision = draw(st.sampled_from(["approve", "reject"])) if kind == "review" else ""
            drafts.append(draft(kind, curator, of=draw(st.sampled_from(made)).id, decision=decision))
    return drafts


@given(sequences(), st.booleans(), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_any_sequence_replays_to_the_same_state_however_it_was_written(tmp_path_factory, drafts, review, split):
    home = Home(tmp_path_factory.mktemp("replay"))
    write(home, *drafts[:split])
    write(home, *drafts[split:])
    read = read_log(home)
    assert [entry.id for entry in read] == [entry.id for entry in number(drafts, [])]
    whole = replay(read, review=review)
    assert [one.as_dict() for one in whole] == [one.as_dict() for one in replay(number(drafts, []), review=review)]
    revoked = {entry.of for entry in read if entry.kind == "revoke"}
    reviewed = {entry.of for entry in read if entry.kind == "review"}
    for one in whole:
        assert (one.state is State.REVOKED) <= (one.entry.id in revoked)
        assert (one.state is State.REJECTED) <= (one.entry.id in reviewed)
        assert (one.state is State.WAITING) <= review
        if one.state is State.IN_FORCE and review:
            assert one.reviewed_by
    assert json.loads(json.dumps([one.as_dict() for one in whole]))
