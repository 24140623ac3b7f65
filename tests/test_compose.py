"""docker-compose.yml and Dockerfile: valid, and safe to start in a lab as they are."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

from aroma.cli.app import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
UNITS = {"m": 1, "g": 1024}
OURS = {"api", "worker", "worker-gpu", "schedule", "tools"}


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load(TEXT)


@pytest.fixture(scope="module")
def validator() -> Validator:
    schema = get_builtin_schema("vendor.compose-spec")
    return validator_for(schema)(schema)


def mebibytes(size: str) -> int:
    return int(size[:-1]) * UNITS[size[-1]]


def test_is_valid_by_the_compose_specification(compose, validator):
    assert [error.message for error in validator.iter_errors(compose)] == []


@pytest.mark.parametrize(
    ("key", "wrong"), [("ports", "7687"), ("healthcheck", {"tests": "x"}), ("imagee", "neo4j"), ("mem_limit", [])]
)
def test_the_schema_would_notice(compose, validator, key, wrong):
    broken = copy.deepcopy(compose)
    broken["services"]["neo4j"][key] = wrong
    assert not validator.is_valid(broken)


def test_image_is_the_supported_release_line(compose):
    assert re.fullmatch(r"neo4j:5\.26(\.\d+)?-community", compose["services"]["neo4j"]["image"])


def test_ports_are_reachable_from_this_machine_only(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_data_lies_in_declared_named_volumes(compose):
    mounts = {
        name: dict(entry.split(":")[1::-1] for entry in service.get("volumes", []) if not entry.startswith("${"))
        for name, service in compose["services"].items()
    }
    assert set(mounts["neo4j"]) >= {"/data", "/logs"}
    assert all(mounts[name]["/data"] == "home" for name in OURS)
    assert {volume for taken in mounts.values() for volume in taken.values()} == set(compose["volumes"])


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_can_do_little(compose, name):
    service = compose["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert mebibytes(service["mem_limit"]) <= 32 * 1024
    assert "privileged" not in service


@pytest.mark.parametrize("name", sorted(OURS))
def test_commands_are_commands_of_the_program(compose, name):
    program, command, *options = compose["services"][name]["command"]
    assert program == "aroma"
    known = typer.main.get_command(app).commands
    if command == "schedule" and command not in known:
        pytest.skip("aroma schedule comes with refreshing")
    given = {option for option in options if option.startswith("--")}
    assert given <= {name for parameter in known[command].params for name in parameter.opts}


@pytest.mark.parametrize("name", ["neo4j", "redis", "api", "worker", "worker-gpu", "schedule"])
def test_what_goes_on_running_is_watched_and_bounded(compose, name):
    service = compose["services"][name]
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert service["mem_limit"]


def test_a_gpu_is_asked_for_by_its_worker_alone(compose):
    asks = {name for name, service in compose["services"].items() if "deploy" in service}
    assert asks == {"worker-gpu"}
    assert compose["services"]["worker-gpu"]["profiles"] == ["gpu"]


def test_the_dockerfile_passes_its_linter():
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_images_take_locked_packages_and_no_root():
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, flags=re.MULTILINE)
    built = {service["build"]["target"] for service in yaml.safe_load(TEXT)["services"].values() if "build" in service}
    assert built == {"core", "gpu"} <= set(stages)
    for target in built:
        stage = text.split(f" AS {target}\n")[1].split("FROM ")[0]
        assert "USER 10001:10001" in stage
    installs = [line for line in re.split(r"&&|\nRUN", text.replace("\\\n", " ")) if "pip install" in line]
    locked = [line for line in installs if "--require-hashes" in line and "--requirement requirements-" in line]
    assert len(installs) == 5
    assert [line for line in installs if line not in locked and "--no-deps /wheels/" not in line] == []


def test_what_the_image_copies_is_let_in_and_secrets_are_not():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert {name for line in copied for name in shlex.split(line)} == let_in
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_has_a_health_check_that_runs_a_query(compose):
    check = compose["services"]["neo4j"]["healthcheck"]
    assert "cypher-shell" in check["test"][1]
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_memory_of_the_server_fits_its_limit(compose):
    service = compose["services"]["neo4j"]
    given = service["environment"]
    heap = mebibytes(given["NEO4J_server_memory_heap_max__size"])
    pages = mebibytes(given["NEO4J_server_memory_pagecache_size"])
    transactions = mebibytes(given["NEO4J_dbms_memory_transaction_total_max"])
    assert heap + pages < mebibytes(service["mem_limit"])
    assert transactions < heap


def test_every_variable_is_explained_in_the_example_environment():
    wanted = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    explained = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert wanted == explained


def test_no_password_is_in_a_committed_file():
    example = (ROOT / ".env.example").read_text()
    for name in ("GRAPH_PASSWORD", "REDIS_PASSWORD", "AROMA_TOKEN"):
        assert re.search(rf"^{name}=$", example, flags=re.MULTILINE)
        assert f"${{{name}:?" in TEXT
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
