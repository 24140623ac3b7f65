"""A directory that is there whole or not at all."""

from __future__ import annotations

import pytest

from aroma.kgstore.whole import whole_directory


def test_it_is_there_when_the_block_ends_and_readable_by_others(tmp_path):
    place = tmp_path / "new" / "one"
    with whole_directory(place) as made:
        (made / "part").mkdir()
        (made / "part" / "file").write_text("whole")
        assert not place.exists()
    assert (place / "part" / "file").read_text() == "whole"
    assert place.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in place.parent.iterdir()] == ["one"]


def test_an_error_leaves_nothing(tmp_path):
    def fail() -> None:
        with whole_directory(tmp_path / "one") as made:
            (made / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("or_theirs", [True, False])
def test_anothers_that_came_first_stays(tmp_path, or_theirs):
    place = tmp_path / "one"

    def second() -> None:
        with whole_directory(place, or_theirs=or_theirs) as made:
            (made / "file").write_text("second")
            place.mkdir()
            (place / "file").write_text("first")

    if or_theirs:
        second()
    else:
        with pytest.raises(OSError, match="not empty"):
            second()
    assert (place / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
