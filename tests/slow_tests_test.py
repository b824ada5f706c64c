"""CONTRIBUTING's table names the files that hold slow tests."""

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
