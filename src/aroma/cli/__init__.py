"""The ``aroma`` command: a door that calls one function of a package and shows the answer."""

from aroma.cli.app import main

__all__ = ["main"]
