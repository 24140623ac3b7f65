"""The house's own rules: sizes, no leftovers, locks that hold, and documentation whose commands exist."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException

from aroma.cli.app import app

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-install.lock",
    "requirements-peers.lock",
    "requirements-service.lock",
    "requirements-gpu.lock",
)
LONGEST_FILE, LONGEST_FUNCTION = 500, 70
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".lock",
    ".cypher",
    ".html",
    ".xml",
    ".json",
    ".txt",
    ".sh",
    "",
}
PROMPT = re.compile(r"^\$ (?P<command>.*)$")


def tracked() -> list[Path]:
    """Files that git knows; the others are nobody's business here."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def package_files() -> list[Path]:
    return [path for path in python_files() if path.is_relative_to(ROOT / "src")]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path.suffix in TEXT_SUFFIXES and path.stat().st_size < 2_000_000:
            yield path.relative_to(ROOT), path.read_text(errors="replace")


def normal(name: str) -> str:
    """A distribution's name as lock files spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lock: str) -> dict[str, str]:
    """Name to version; each entry must be pinned and hashed."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / lock).read_text()):
        if entry.startswith("#"):
            continue
        pinned = re.match(r"(?P<name>[\w.-]+)(\[.*?\])?==(?P<version>[\w.+!-]+)", entry)
        assert pinned, f"{lock}: not pinned: {entry.splitlines()[0]}"
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"{lock}: no hash: {pinned['name']}"
        found[normal(pinned["name"])] = pinned["version"]
    return found


def test_files_and_functions_can_be_seen_whole():
    long = []
    for path in python_files():
        source = path.read_text()
        if source.count("\n") > LONGEST_FILE:
            long.append(f"{path.relative_to(ROOT)}: {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines")
    assert long == []


def test_nothing_of_one_machine_or_registry_is_committed():
    hosts = (
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "repo1.maven" + ".org",
        "registry.npmjs" + ".org",
        "crates" + ".io",
    )
    flags = ("--index" + "-url", "--extra-index" + "-url", "--find" + "-links")
    machine = re.compile(r"(?<![\w.~\]})*-])/(?:root|work|home|Users|private)/(?=\w)")
    found = []
    for path, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            if machine.search(line) or any(part in line for part in (*hosts, *flags)):
                found.append(f"{path}:{number}: {line.strip()[:100]}")
    assert found == []


def test_nothing_is_left_for_later():
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if path.suffix in {".py", ".md", ".cypher", ".toml", ".yml", ""} and words.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_pin_and_hash_everything(lock):
    assert requirements(lock)


def test_core_installs_no_deep_learning():
    heavy = {"torch", "tensorflow", "jax", "transformers", "torch-geometric"}
    assert heavy.isdisjoint(requirements("requirements.lock"))


def test_lock_files_hold_what_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(wanted: list[str]) -> set[str]:
        return {normal(re.split(r"[\[<>=! ;]", entry)[0]) for entry in wanted}

    core, dev = requirements("requirements.lock"), requirements("requirements-dev.lock")
    assert names(project["dependencies"]) - set(core) == set()
    assert names(project["optional-dependencies"]["dev"]) - set(dev) == set()
    assert {name: version for name, version in core.items() if dev.get(name) != version} == {}


def imported_packages() -> dict[str, str]:
    """Top-level package to one file that imports it, the standard library and this package left out."""
    found: dict[str, str] = {}
    for path in package_files():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(ROOT).as_posix())
    return {name: place for name, place in found.items() if name not in {*sys.stdlib_module_names, "aroma"}}


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [entry for name, wanted in project["optional-dependencies"].items() if name != "dev" for entry in wanted]
    asked = [*project["dependencies"], *extras]
    declared = {normal(re.split(r"[\[<>=! ;]", entry)[0]) for entry in asked}
    owners = importlib.metadata.packages_distributions()
    undeclared = {
        package: place
        for package, place in imported_packages().items()
        if declared.isdisjoint(normal(owner) for owner in owners.get(package, [package]))
    }
    assert undeclared == {}


def test_every_setting_is_documented():
    names = {
        node.value
        for path in package_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"(AROMA|GRAPH)_[A-Z_]+", node.value)
    }
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert names
    assert {name for name in names if f"`{name}`" not in page} == set()


def makefile_targets() -> dict[str, str]:
    lines = (ROOT / "Makefile").read_text().splitlines()
    return dict(match.groups() for line in lines if (match := re.match(r"([a-z-]+):.*## (.+)$", line)))


def test_make_help_lists_every_target():
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in shown.splitlines()} == set(phony[1].split())
    assert set(makefile_targets()) == set(phony[1].split())


def test_ci_runs_what_developers_run():
    script = ROOT / ".ci" / "run"
    assert re.search(r"^make .*\btest$", script.read_text(), flags=re.MULTILINE)
    assert os.access(script, os.X_OK)


def test_readme_shows_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


# --- commands shown in the documentation --------------------------------------------------------------------


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield place and words of every command behind a ``$`` prompt in a console block."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.finditer(r"^ *```console\n(.*?)^ *```", page.read_text(), flags=re.MULTILINE | re.DOTALL):
            text = block[1].replace("\\\n", " ")
            for line in text.splitlines():
                if match := PROMPT.match(line.strip()):
                    yield page.relative_to(ROOT).as_posix(), first_command(match["command"])


def first_command(line: str) -> list[str]:
    """Split a shell line and cut it at a pipe, redirection or second command; drop variables set before it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


def complaint(words: list[str]) -> str | None:
    """Return what is wrong with a command that begins with ``aroma``, by the program's own parser."""
    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name, *rest = rest
        if name not in command.commands:
            return f"there is no command {name!r}"
        command = command.commands[name]
    context = command.make_context("aroma", [], resilient_parsing=True)  # nothing is required yet
    context.resilient_parsing = False
    try:
        _, left, _ = command.make_parser(context).parse_args(list(rest))
    except TyperException as error:
        return error.format_message()
    return f"too many arguments: {left}" if left and not hasattr(command, "commands") else None


def test_every_command_in_the_documentation_exists():
    wrong, seen = [], 0
    for page, words in shown_commands():
        program = words[0] if words else ""
        if program in {"aroma", ".venv/bin/aroma"}:
            seen += 1
            if said := complaint(words):
                wrong.append(f"{page}: {' '.join(words)}: {said}")
        elif program == "make":
            seen += 1
            wrong += [f"{page}: make {target}" for target in words[1:2] if target not in makefile_targets()]
    assert wrong == []
    assert seen


def test_a_wrong_command_would_be_noticed():
    assert complaint(["aroma", "no-such-command"])
    assert complaint(["aroma", "build", "--no-such-option"])
