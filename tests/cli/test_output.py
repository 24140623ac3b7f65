"""What people see: whole values, as they are, on a screen of any width."""

from __future__ import annotations

import pytest

from aroma.cli.output import print_table


@pytest.fixture
def _narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")


@pytest.mark.usefixtures("_narrow")
def test_few_columns_are_a_table(capsys):
    print_table("", ("symbol", "score"), [("TULP1", 5), ("ITCH", 7)])
    shown = capsys.readouterr().out
    assert "┃" in shown
    assert shown.index("TULP1") < shown.index("ITCH")


@pytest.mark.usefixtures("_narrow")
def test_many_columns_are_one_block_a_row_and_nothing_is_cut(capsys):
    columns = tuple(f"column{number}" for number in range(12))
    rows = [tuple(f"value-{row}-{number}-" + "x" * 70 for number in range(12)) for row in range(2)]
    print_table("", columns, rows)
    shown = capsys.readouterr().out
    joined = "".join(shown.split())
    assert all(value in joined for row in rows for value in row)


@pytest.mark.usefixtures("_narrow")
def test_blocks_leave_out_what_is_empty(capsys):
    columns = tuple(f"column{number}" for number in range(12))
    print_table("", columns, [("a" * 30, None, [], *(["b" * 30] * 9))])
    shown = capsys.readouterr().out
    assert "column0" in shown
    assert "column1 " not in shown
    assert "column2 " not in shown


def test_no_rows_show_the_columns(capsys):
    print_table("", ("symbol", "score"), [])
    assert "symbol" in capsys.readouterr().out


def test_brackets_are_text_and_no_markup(capsys):
    print_table("", ("text",), [("[bold]a[/bold] [link]",)])
    assert "[bold]a[/bold] [link]" in capsys.readouterr().out
