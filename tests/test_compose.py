"""docker-compose.yml: valid by the compose specification, and safe to start in a lab as it is."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docker-compose.yml").read_text()
UNITS = {"m": 1, "g": 1024}


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
    mounts = dict(entry.split(":")[::-1] for entry in compose["services"]["neo4j"]["volumes"])
    assert set(mounts) >= {"/data", "/logs"}
    assert set(mounts.values()) == set(compose["volumes"])


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
    assert re.search(r"^GRAPH_PASSWORD=$", example, flags=re.MULTILINE)
    assert "${GRAPH_PASSWORD:?" in TEXT
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
