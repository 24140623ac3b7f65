"""Nothing is unpickled, Cypher takes values as parameters, archives are unpacked with path checks, TLS stays on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
QUERIES = sorted((ROOT / "src").rglob("*.cypher"))
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
"""Modules that run what a file says."""
ONLY_FOR_ITS_ERROR = {"src/aroma/model/embeddings/fair_esm.py": {"pickle"}}
"""``torch.load(weights_only=True)`` raises ``pickle.UnpicklingError`` for what it refuses."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(node: ast.expr) -> str:
    """``a.b.c`` of a call's function, or an empty text."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def argument(call: ast.Call, name: str) -> object:
    """Return a keyword argument's constant; None where it is not given or no constant."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg == name), None)
    return given.value if isinstance(given, ast.Constant) else None


def unsafe_calls(source: str, path: str = "x.py") -> list[str]:
    """Calls that would run, or unpack without checks, what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        last = name.rpartition(".")[2]
        bad = (
            name in {"eval", "exec", "os.system", "os.popen", "yaml.load"}
            or last in {"extractall", "unpack_archive", "read_pickle", "to_pickle", "unsafe_load"}
            or (last == "extract" and re.match(r"(tar|zip|archive)", name) is not None)
            or (name == "torch.load" and argument(node, "weights_only") is not True)
            or (name in {"np.load", "numpy.load"} and argument(node, "allow_pickle") is not False)
            or argument(node, "shell") is True
            or argument(node, "verify") is False
            or argument(node, "trust_remote_code") is True
        )
        if bad:
            found.append(f"{path}:{node.lineno}: {ast.unparse(node)[:100]}")
    return found


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_nothing_that_unpickles_is_imported():
    found = {}
    for path in SOURCES:
        place = path.relative_to(ROOT).as_posix()
        if bad := (imports(path) & UNPICKLERS) - ONLY_FOR_ITS_ERROR.get(place, set()):
            found[place] = bad
    assert found == {}


def test_where_pickle_is_imported_only_its_error_is_used():
    for place in ONLY_FOR_ITS_ERROR:
        used = {name_of(node) for node in ast.walk(parsed(ROOT / place)) if isinstance(node, ast.Attribute)}
        assert {name for name in used if name.startswith("pickle.")} == {"pickle.UnpicklingError"}


def test_no_call_runs_what_a_file_says():
    found = [said for path in SOURCES for said in unsafe_calls(path.read_text(), str(path.relative_to(ROOT)))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "tar.extractall(p)",
        "archive.extract(m)",
        "shutil.unpack_archive(p)",
        "pd.read_pickle(p)",
        "yaml.load(p)",
        "eval(p)",
        "subprocess.run(p, shell=True)",
        "httpx.get(u, verify=False)",
        "AutoModel.from_pretrained(n, trust_remote_code=True)",
    ],
)
def test_the_sweep_would_notice(source: str):
    assert unsafe_calls(source)


def test_serializers_of_the_broker_are_json_alone():
    from aroma.jobs.broker import make_app

    conf = make_app("redis://127.0.0.1:1/0").conf
    assert conf.accept_content == conf.result_accept_content == ["json"]
    assert (conf.task_serializer, conf.result_serializer) == ("json", "json")


LITERAL = re.compile(r"^\s*(MATCH|OPTIONAL MATCH|MERGE|CREATE|UNWIND|CALL|DROP|SHOW)\b")


def formatted(source: str) -> list[tuple[int, str, list[str]]]:
    """f-strings and ``%``/``format``/``+`` texts that begin as Cypher does: line, text, the expressions put into it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            whole = "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            put_in = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add) and _starts(node.left):
            whole, put_in = _starts(node.left), [ast.unparse(node.right)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            whole, put_in = _starts(node.func.value), [ast.unparse(one) for one in node.args]
        else:
            continue
        if put_in and LITERAL.match(whole):
            found.append((node.lineno, whole, put_in))
    return found


def _starts(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


PUT_IN = {
    "kgstore/cypher_guard.py": {"', '.join(sorted(SHOWN))"},  # a message
    "kgstore/engines/compare.py": {"label", "said", "relation", "subject", "object_"},
    "kgstore/engines/embedded_loader.py": {"label", "relation"},
    "kgstore/engines/neo4j_server.py": {
        "label", "relation", "subject", "object_", "', '.join(values)", "what", "deleted", "_BATCH",
    },
    "kgstore/engines/vectors.py": {
        "MARKER", "label", "name", "dim", "index", "property_of(encoder)", "index_of(said.encoder, label)",
    },
}  # fmt: skip
"""What Cypher does not take as a parameter: labels, types, properties, names of indexes. All are from our own lists
(``projection.LABELS``, ``RELATIONS``) or checked (``vectors.property_of``).
A new one is looked at before it is added."""


def quoted(whole: str, number: int) -> bool:
    """Tell whether the n-th thing put into a text stands between quotes: a value, written into it."""
    before = "{}".join(whole.split("{}")[: number + 1])
    return before.count("'") % 2 == 1 or before.count('"') % 2 == 1


def test_no_value_is_formatted_into_cypher():
    found = []
    for path in SOURCES:
        for line, whole, put_in in formatted(path.read_text()):
            found += [
                f"{path.relative_to(ROOT)}:{line}: {{{said}}} in {whole[:80]!r}"
                for number, said in enumerate(put_in)
                if said not in PUT_IN.get(path.relative_to(ROOT / "src" / "aroma").as_posix(), ())
                or (quoted(whole, number) and said != "name")
            ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "graph.read(f\"MATCH (g:Gene {{id: '{gene}'}}) RETURN g\")",
        "graph.read(f'MATCH (g:Gene) WHERE g.id = {gene_id} RETURN g')",
        "graph.read('MATCH (g) WHERE g.id = %s RETURN g' % gene)",
        "graph.read('MATCH (g) WHERE g.id = ' + gene)",
        "graph.read('MATCH (g) WHERE g.id = {} RETURN g'.format(gene))",
    ],
)
def test_the_cypher_sweep_would_notice(source: str):
    assert formatted(source)


def test_an_encoder_id_that_is_none_does_not_reach_cypher():
    from aroma.errors import UsageError
    from aroma.kgstore.engines.vectors import index_of, property_of

    assert property_of("e0123456789ab") == "vector_e0123456789ab"
    for wrong in ("", "e`x", "e'x", "e x", "e\nx", "e}x"):
        for named in (property_of, lambda encoder: index_of(encoder, "Gene")):
            with pytest.raises(UsageError, match="no encoder id"):
                named(wrong)


def test_saved_queries_have_parameters_and_no_placeholders():
    assert QUERIES
    for path in QUERIES:
        text = re.sub(r"//.*", "", path.read_text())
        assert not re.search(r"%s|%\(|\{\{|\{[a-z_]+\}(?!\s*[-\]])", text), path
