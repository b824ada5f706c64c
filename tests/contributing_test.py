"""CONTRIBUTING's tables name the files that hold slow tests, and places that are there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]


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
    assert len(rows) == 10
    for row in rows:
        for path in re.findall(r"`(anp_tf/[^`]*)`", row):
            assert (ROOT / path).exists(), path
        for name, path in re.findall(r"`(\w+)`[^`|]* in `(anp_tf/[^`]*\.py)`", row):
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), (name, path)
