"""The names that options take are those of the tables."""

import json
import subprocess
import sys

import pytest

import anp_tf
from anp_tf import names
from anp_tf.__main__ import COMMANDS
from anp_tf.benchmark.attack import BATCH_SIZES
from anp_tf.benchmark.command import BENCHMARKS
from anp_tf.layers import MASKS
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS
from anp_tf.reproduce import paper
from anp_tf.robustness import NORMS


def test_tables_have_these_names():
    tables = {
        "METHODS": METHODS,
        "MASKS": MASKS,
        "NETWORKS": NETWORKS,
        "NORMS": NORMS,
        "BENCHMARKS": BENCHMARKS,
        "BENCHMARK_NETWORKS": BATCH_SIZES,
    }
    for name, table in tables.items():
        assert tuple(table) == getattr(names, name)
    assert (*paper.SETTINGS, "wang2018") == names.TABLES


def test_commands_define_their_flags_without_tensorflow():
    code = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(f"anp_tf.{name}.__main__")
import anp_tf
print(sorted({"tensorflow", "keras", "numpy"} & sys.modules.keys()))
"""
    commands = list(COMMANDS)
    printed = subprocess.check_output([sys.executable, "-c", code, json.dumps(commands)], text=True)
    assert printed == "[]\n"


def test_names_of_the_package_are_there():
    assert {name: getattr(anp_tf, name).__name__ for name in anp_tf.NAMES if name != "METHODS"} == {
        name: name for name in anp_tf.NAMES if name != "METHODS"
    }
    for name in anp_tf.PACKAGES:
        assert getattr(anp_tf, name).__name__ == f"anp_tf.{name}"
    assert {"slim", "data", "load"} <= set(dir(anp_tf))
    with pytest.raises(AttributeError, match="'slimm'"):
        anp_tf.slimm  # noqa: B018


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "anp_tf", *arguments], capture_output=True, text=True, check=False
    )


def test_all_commands_in_ten_lines():
    outcome = run()
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert len(outcome.stdout.splitlines()) <= 12
    assert {f"anp-tf {name}" in outcome.stdout for name in COMMANDS} == {True}


def test_a_command_by_its_name():
    outcome = run("train", "--help")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("anp-tf train: trains networks")
    outcome = run("evaluate", "--epsilom=2")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(
        "anp-tf evaluate: --epsilom: there is no such flag; did you mean --epsilon?"
    )


def test_an_unknown_command():
    outcome = run("evalute")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert outcome.stderr.endswith("received 'evalute'; did you mean evaluate?\n")


def test_configs_come_with_the_package(tmp_path):
    outcome = run("train", "--config=quickstart", "--epsilon=2")
    assert outcome.stderr == (
        "anp-tf train: --epsilon: expected a value in (0, 1], in pixel units, such as 8/255, "
        "received 2.0\n"
    )
    outcome = run("train", "--config=quickstrt")
    assert outcome.returncode == 2
    assert outcome.stderr.endswith("received 'quickstrt'; did you mean quickstart?\n")
