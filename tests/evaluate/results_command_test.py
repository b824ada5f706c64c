"""The command `python -m anp_tf.evaluate`, as processes."""

import json
import re
import shutil

import pytest

from anp_tf.intervals import with_interval


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.path / "anp_vs", tmp_path / "run")


def row(path):
    result = json.loads(path.read_text())
    del result["latency_milliseconds"]
    return result


@pytest.mark.slow
def test_measures_what_the_training_measured(finished, commands, copy):
    (copy / "results.json").unlink()
    outcome = commands.run("evaluate", f"--workdir={copy}")
    assert (outcome.code, outcome.err) == (0, "")
    assert row(copy / "results.json") == row(finished.path / "anp_vs" / "results.json")
    # The table of `train`, after a line on the attack.
    expected = row(copy / "results.json")
    assert re.match(r"anp_vs  white-box PGD-2  50 in 0:0\d:\d\d\n", outcome.out)
    assert "mnist, 50 test images" in outcome.out
    assert f" {with_interval(expected['white_box_accuracy'], 50)}" in outcome.out
    assert outcome.out.splitlines()[-1] == str(copy / "results.json")


@pytest.mark.slow
def test_source_gives_black_box_figures_and_flags_change_the_attack(finished, commands, copy):
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    output = copy.parent / "row.json"
    outcome = commands.run(
        "evaluate",
        f"--workdir={copy}",
        f"--source={finished.path / 'standard'}",
        f"--output={output}",
        "--limit_test_examples=20",
        "--epsilon=0.1",
        "--eval_attack_steps=3",
        "--eval_attack_step_size=0.05",
    )
    assert outcome.code == 0, outcome.err
    result = row(output)
    assert result["test_examples"] == 20
    assert (result["attack"], result["epsilon"], result["step_size"]) == ("PGD-3", 0.1, 0.05)
    assert 0 <= result["black_box_accuracy"] <= 100
    assert result["black_box_vulnerability"] > 0
    assert result["black_box_vulnerability"] != result["white_box_vulnerability"]
    assert with_interval(result["black_box_accuracy"], 20) in outcome.out
    # With --output, nothing in the workdir changes.
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


@pytest.mark.slow
def test_black_box_figures_stay_when_the_row_is_measured_again(finished, commands, copy):
    source = str(finished.path / "standard")
    assert commands.run("evaluate", f"--workdir={copy}", f"--source={source}").code == 0
    measured = row(copy / "results.json")
    assert measured["black_box_source"] == source
    assert commands.run("evaluate", f"--workdir={copy}").code == 0
    assert row(copy / "results.json") == measured


@pytest.mark.slow
def test_killed_while_writing_leaves_the_old_results(commands, copy):
    before = (copy / "results.json").read_bytes()
    assert commands.run("evaluate", f"--workdir={copy}", kill_at="results.json:1").code == -9
    assert (copy / "results.json").read_bytes() == before


@pytest.mark.slow
def test_changed_options_are_shown_and_not_written(commands, copy):
    before = (copy / "results.json").read_bytes()
    outcome = commands.run("evaluate", f"--workdir={copy}", "--limit_test_examples=10")
    assert outcome.code == 0, outcome.err
    assert "mnist, 10 test images" in outcome.out
    assert "results.json" not in outcome.out
    assert (copy / "results.json").read_bytes() == before


def test_output_is_checked_before_the_data_is_read(commands, copy):
    flags = [f"--workdir={copy}", "--data_dir=/dev/null", f"--output={copy}/missing/row.json"]
    outcome = commands.run("evaluate", *flags)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "--output" in outcome.err
