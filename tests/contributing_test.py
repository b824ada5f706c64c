"""CONTRIBUTING's tables name the files that hold slow tests, and places that are there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
# How a table, a function and a field begin in their files.
STARTS = {"": r"^{} = ", "function": r"^def {}\(", "field": r"^    {}: "}


def test_the_table_names_every_file():
    table = set(
        re.findall(r"^\| `(\w[\w/]*_test\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    )
    files = (ROOT / "tests").rglob("*_test.py")
    slow = {path for path in files if "mark.slow" in path.read_text()} - {pathlib.Path(__file__)}
    assert {path.relative_to(ROOT / "tests").as_posix() for path in slow} <= table
    assert all((ROOT / "tests" / name).exists() for name in table)


def test_the_places_to_add_something_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text().split("## Where to add what")[1]
    rows = [line for line in text.split("\n## ")[0].splitlines() if line.startswith("| a")]
    assert len(rows) == 11
    for row in rows:
        for path in re.findall(r"`(anp_tf/[^`]*)`", row):
            assert (ROOT / path).exists(), path
        for name, path in re.findall(r"`(\w+)`[^`|]* in `(anp_tf/[^`]*\.py)`", row):
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)
        places = re.findall(r"(function|field|) ?`(\w+)` in `([^`]*\.py)`", row.split(" | ")[-1])
        assert places
        for kind, name, path in places:
            start = STARTS[kind].format(name)
            assert re.search(start, (ROOT / path).read_text(), re.MULTILINE), (name, path)
