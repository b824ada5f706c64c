"""Data flows one way: a file imports only from above it, as CONTRIBUTING's table has it."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = ("__main__.py", "command.py")


def rows():
    """The places of CONTRIBUTING's table, a set for each row, from above to below."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text.split("a file imports only from above it:")[1].split("\n\n")[1]
    listed = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    return [{name.strip("/") for name in names} for names in listed]


def place(path):
    """The place of a file in the table: a file, a package, or the commands."""
    if path.name in COMMANDS:
        return path.name
    return path.relative_to(ROOT / "anp_tf").parts[0]


def imported(path):
    """The files of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            if module.startswith("anp_tf."):
                target = ROOT / module.replace(".", "/")
                if target.with_suffix(".py").is_file():
                    yield target.with_suffix(".py")
                elif (target / "__init__.py").is_file():
                    yield target / "__init__.py"


def test_files_import_from_above():
    order = rows()
    depth = {name: index for index, names in enumerate(order) for name in names}
    for path in (ROOT / "anp_tf").rglob("*.py"):
        own = place(path)
        if own == "__init__.py":
            continue  # of the package, which imports when it is asked
        assert own in depth, f"{own} is not in CONTRIBUTING's table"
        for other in imported(path):
            name = place(other)
            if name not in (own, "__init__.py"):
                assert depth[name] <= depth[own], f"{path} imports {other}, which is below it"


def test_the_table_names_what_is_there():
    names = {place(path) for path in (ROOT / "anp_tf").rglob("*.py")} - {"__init__.py"}
    assert set().union(*rows()) == names
