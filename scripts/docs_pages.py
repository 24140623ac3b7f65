"""Pages of the documentation that are written from the code, each time the documentation is built.

mkdocs calls ``on_config`` and ``on_files`` (see ``hooks`` in ``mkdocs.yml``). Commands, tables, views, queries,
providers and the Python interface are thus never out of date.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
import io
import json
import pkgutil
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from aroma.cli.app import app
from aroma.importers import registry
from aroma.importers.base import FileKind, Importer
from aroma.importers.discover import human_pattern
from aroma.kgstore import schema, views
from aroma.kgstore.saved_queries import load_queries

BUNDLED_QUERIES = Path(schema.__file__).parent / "queries"
API_PACKAGES = ("kgstore", "importers", "retrieval")
API_SECTION = "Python API"
DECISIONS_SECTION = "Decisions"

TABLE_MEANINGS = {
    "nodes": "One row for each gene, protein, complex, GO term, pathway, reaction and cell line.",
    "edges": "One row for one (subject, relation, object, provider).",
    "statements": "One row for each line of a provider's file that is evidence for an edge.",
    "gene_names": "Every name that a provider gives a gene, with the tier that says how far it can be trusted.",
    "descriptions": "Texts that describe a node, by provider.",
    "sequences": "Residues of each protein.",
    "rejects": "Lines that could not be read, with the reason.",
    "unresolved": "Identifiers that stand for no gene, or for more than one, and how many rows that cost.",
    "name_conflicts": "Names that stand in two tiers: one decides, the other is shown.",
    "import_runs": "One row for each file read: what it was, how its version was found, how many rows went where.",
    "sources": "Providers of the release, their versions and licences.",
    "assertions": "Curators' assertions and retractions that the release applies.",
    "retracted_edges": "Edges of providers that a curator's retraction hides, as they were; there only where one does.",
    "retracted_statements": "Statements that a retraction hides, as they were; there only where one does.",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the navigation entries that list what is there: documented packages and decisions."""
    filled = {
        API_SECTION: [{f"aroma.{name}": f"reference/api/{name}.md"} for name in ("errors", *_present_packages())],
        DECISIONS_SECTION: [
            f"decisions/{page.name}" for page in sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
        ],
    }
    for section in config.nav or []:
        for items in section.values() if isinstance(section, dict) else []:
            for item in items if isinstance(items, list) else []:
                if isinstance(item, dict):
                    item.update({title: filled[title] for title in item.keys() & filled.keys()})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in generated_pages():
        files.append(File.generated(config, path, content=text))
    return files


def generated_pages() -> Iterator[tuple[str, str]]:
    """Yield path below ``docs`` and Markdown text of each generated page."""
    yield "reference/commands.md", commands_page()
    yield "reference/data-model.md", data_model_page()
    yield "reference/views.md", views_page()
    yield "reference/providers.md", providers_page()
    yield "reference/queries.md", queries_page()
    yield "reference/api/errors.md", "# aroma.errors\n\n::: aroma.errors\n"
    for package in _present_packages():
        yield f"reference/api/{package}.md", api_page(package)


# --- commands -----------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(app)
    parts = [
        "# Commands",
        (
            "Written from the program itself. Exit codes: 0 done, 1 failed, 2 wrong use or unreadable input, "
            "3 stopped by a gate. Progress goes to standard error; with `--json`, standard output holds JSON only."
        ),
    ]
    parts += [_command_section(path, command) for path, command in walk_commands(root)]
    return "\n\n".join(parts) + "\n"


def walk_commands(command: Any, path: tuple[str, ...] = ("aroma",)) -> Iterator[tuple[str, Any]]:
    """Yield (``aroma releases show``, its command) for each command that does something by itself."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(path), command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from walk_commands(child, (*path, name))


def _command_section(path: str, command: Any) -> str:
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
    records = [parameter.get_help_record(context) for parameter in command.params]
    rows = [(_code(shown), said) for shown, said in filter(None, records)]
    if rows:
        lines.append(markdown_table(("argument or option", "meaning"), rows))
    return "\n\n".join(line for line in lines if line)


# --- tables -------------------------------------------------------------------------------------------------


def data_model_page() -> str:
    """Labels, relationship types and every column of every table."""
    parts = [
        "# Data model",
        (
            f"Schema version {schema.SCHEMA_VERSION}; it is part of every release id. Written from "
            "`aroma.kgstore.schema`. What the parts mean is told in [Provenance](../explanation/provenance.md), "
            "[Releases](../explanation/releases.md) and [What GO annotations mean](../explanation/go-meaning.md)."
        ),
        "## Relationship types",
        markdown_table(("type", "from", "to", "note"), [_relation_row(relation) for relation in schema.Relation]),
        "## Tables",
        (
            "A release is these tables, as Parquet files. *Not in the release id* marks history: it stands beside the "
            "facts and does not change what a release is. Columns `score_…` are STRING's channels, 0 to 1000."
        ),
    ]
    comments = _column_comments()
    for name, spec in schema.TABLES.items():
        parts += [f"### {name}", TABLE_MEANINGS[name], "Key: " + ", ".join(f"`{key}`" for key in spec.key) + "."]
        parts.append(markdown_table(("column", "type", "meaning"), list(_column_rows(spec, comments[name]))))
    return "\n\n".join(parts) + "\n"


def _relation_row(relation: schema.Relation) -> tuple[str, str, str, str]:
    ends = schema.RELATION_ENDS[relation]
    note = "symmetric: stored once, smaller id first" if ends.symmetric else ""
    return f"`{relation}`", ", ".join(sorted(ends.subjects)), ", ".join(sorted(ends.objects)), note


def _column_rows(spec: schema.TableSpec, comments: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for column, dtype in spec.columns.items():
        if column in schema.CHANNEL_COLUMNS:
            continue
        meaning = comments.get(column, "")
        if column in spec.unhashed and "not hashed" not in meaning:
            meaning = f"{meaning}; not hashed".lstrip("; ")
        yield f"`{column}`", str(dtype).removesuffix("()"), meaning.replace("not hashed", "*not in the release id*")
    if set(schema.CHANNEL_COLUMNS) & set(spec.columns):
        channels = f"`score_{schema.STRING_CHANNELS[0]}` … `score_{schema.STRING_CHANNELS[-1]}`"
        yield channels, "Int16", f"STRING's {len(schema.STRING_CHANNELS)} channels, from the full links file"


def _column_comments() -> dict[str, dict[str, str]]:
    """Return the comment that stands behind each column in ``schema.py``, by table and column."""
    source = inspect.getsource(schema)
    by_line = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    dictionaries: dict[str, ast.Dict] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            dictionaries[ast.unparse(statement.target)] = statement.value
    found: dict[str, dict[str, str]] = {}
    tables = dictionaries["TABLES"]
    for key, value in zip(tables.keys, tables.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(value, ast.Call):
            columns = dictionaries[ast.unparse(value.args[0])].keys
            found[str(key.value)] = {
                str(column.value): by_line.get(column.lineno, "")
                for column in columns
                if isinstance(column, ast.Constant)
            }
    return found


# --- views, providers, queries ------------------------------------------------------------------------------


def views_page() -> str:
    """The preset views and their definitions."""
    parts = [
        "# Preset views",
        (
            "Written from `aroma.kgstore.views`. What a view is: [Views](../explanation/views.md). "
            "The id is a hash of the definition without its name."
        ),
    ]
    for view in views.PRESETS.values():
        definition = view.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        rows = [(f"`{key}`", _shown(value)) for key, value in definition.items()]
        parts += [f"## {view.name}", f"Id `{view.id}`.", markdown_table(("setting", "value"), rows)]
    return "\n\n".join(parts) + "\n"


def providers_page() -> str:
    """Who provides what, which files are read, and on what terms."""
    parts = [
        "# Providers",
        (
            "Written from the importers. A file is found by its name below the directory given to `--from`, "
            "subdirectories included, gzip or plain."
        ),
    ]
    for importer in registry.importers().values():
        card = importer.card
        use = "commercial use allowed" if card.commercial_use else "**no commercial use**"
        facts = f"[{card.homepage}]({card.homepage}). Licence: [{card.licence}]({card.licence_url}), {use}."
        rows = [(_code(human_pattern(kind)), kind.kind, _needed(kind, importer)) for kind in importer.files]
        parts += [f"## {card.title}", f"Key: `{card.name}`. {facts}"]
        parts.append(markdown_table(("file name", "kind", "needed"), rows))
    return "\n\n".join(parts) + "\n"


def queries_page() -> str:
    """The saved queries: what each answers, its parameters and columns."""
    parts = [
        "# Saved queries",
        (
            "Written from the headers of the query files. How to run them and how to add your own: "
            "[Ask with Cypher](../how-to/ask-with-cypher.md)."
        ),
    ]
    for name, query in load_queries(BUNDLED_QUERIES).items():
        call = f"aroma query {name} {query.example()}".strip()
        parts += [f"## {name}", f"{query.answers}.", f"```text\n{call}\n```"]
        if query.notes:
            parts.append(" ".join(query.notes))
        if query.parameters:
            rows = [
                (_code(each.name), each.type, "required" if each.default is None else _code(each.default), each.meaning)
                for each in query.parameters
            ]
            parts.append(markdown_table(("parameter", "type", "default", "meaning"), rows))
        columns = [(_code(column), meaning) for column, meaning in query.columns]
        parts.append(markdown_table(("column", "meaning"), columns))
    return "\n\n".join(parts) + "\n"


def _needed(kind: FileKind, importer: Importer) -> str:
    if kind.group and kind.required:
        return "one of " + ", ".join(other.kind for other in importer.files if other.group == kind.group)
    return "yes" if kind.required else "no"


# --- Python interface ---------------------------------------------------------------------------------------


def api_page(package: str) -> str:
    """One page for a package: each of its public modules."""
    parts = [f"# aroma.{package}"]
    parts += [f"::: {module}" for module in _modules(importlib.import_module(f"aroma.{package}"))]
    return "\n\n".join(parts) + "\n"


def _present_packages() -> list[str]:
    return [package for package in API_PACKAGES if _has_source(f"aroma.{package}")]


def _has_source(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def _modules(package: ModuleType) -> Iterable[str]:
    found = pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}.")
    return [package.__name__, *sorted(info.name for info in found if "._" not in info.name)]


# --- Markdown -----------------------------------------------------------------------------------------------


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; cells keep no line ends."""
    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(" ".join(_escaped(cell).split()) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _escaped(text: str) -> str:
    return text if text.startswith("<code>") else text.replace("|", "\\|").replace("<", "&lt;")


def _code(text: str) -> str:
    """Code in a table cell: between backticks, what is escaped for the table would be shown."""
    shown = html.escape(text)
    for sign in "|[]*_`\\":
        shown = shown.replace(sign, f"&#{ord(sign)};")
    return f"<code>{shown}</code>"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{json.dumps(value)}`"
