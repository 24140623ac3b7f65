"""The command's frame."""

from aroma import __version__
from aroma.cli.app import run


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"aroma {__version__}\n"


def test_no_command_shows_the_commands(capsys):
    assert run([]) == 2
    assert "evidence" in capsys.readouterr().out
