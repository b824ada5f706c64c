"""The command `python -m anp_tf.reproduce`, as processes on real images."""

import json
import os
import re
import signal
import time
import types

import pytest

from anp_tf.reproduce import command, paper
from anp_tf.train import command as train_command
from anp_tf.workdir import Workdir

METHODS = ["standard", "anp_vs"]
TINY = [
    "--width_multiplier=0.1",
    "--epochs=2",
    "--batch_size=32",
    "--attack_steps=1",
    "--validation_attack_steps=1",
    "--eval_attack_steps=2",
    "--eval_samples=2",
    "--limit_train_examples=160",
    "--limit_test_examples=40",
    "--kl_warmup_epochs=1",
    "--epsilon_warmup_epochs=1",
]


@pytest.fixture(scope="module")
def table(commands, tmp_path_factory):
    """A table of two rows, made by a command that was killed and started again."""
    folder = tmp_path_factory.mktemp("reproduced") / "a table"
    flags = ["--table=mnist", f"--methods={','.join(METHODS)}", f"--workdir={folder}"]
    flags += [*TINY, "--row=standard --epochs=1", "--export", "--standard_attack=20"]
    process = commands.start("reproduce", *flags)
    deadline = time.monotonic() + 300
    while not (folder / "seed0" / "anp_vs" / "checkpoints").exists():
        assert time.monotonic() < deadline
        assert not (process.err.exists() and process.err.read_text())
        time.sleep(0.05)
    process.signal(signal.SIGKILL)
    killed = process.wait()
    return folder, flags, killed, commands.run("reproduce", *flags)


@pytest.mark.slow
def test_it_goes_on_where_it_was_killed(table):
    folder, _, killed, outcome = table
    assert killed.code == -signal.SIGKILL
    assert outcome.code == 0, outcome.err
    assert not outcome.err
    assert "running: source" in killed.out
    assert "running: source" not in outcome.out
    assert "running: seed0/standard" not in outcome.out
    assert outcome.out.count("running: seed0/anp_vs;") == 1
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert [row["method"] for row in rows] == METHODS
    for row in rows:
        assert row["seeds"] == [0]
        assert len(row["measured"]) == 11
        attacked = row["measured"]["standard_attack_accuracy"]
        assert attacked["images"] == 20
        assert 0 <= attacked["mean"] <= 100
        assert row["measured"]["core_minutes"]["mean"] > 0
    assert (folder / "table.md").read_text() in outcome.out


@pytest.mark.slow
def test_what_each_row_measured(table):
    folder, *_ = table
    rows = {row["method"]: row for row in json.loads((folder / "table.json").read_text())["rows"]}
    measured = {
        method: {name: figure["mean"] for name, figure in row["measured"].items()}
        for method, row in rows.items()
    }
    assert measured["standard"]["weight_sparsity_percent"] == 0
    assert rows["anp_vs"]["paper"]["white_box_accuracy"] == 91.31
    results = json.loads((folder / "seed0" / "anp_vs" / "results.json").read_text())
    assert results["white_box_accuracy"] == measured["anp_vs"]["white_box_accuracy"]
    assert results["black_box_source"] == str(folder / "source")
    assert results["black_box_accuracy"] is not None


@pytest.mark.slow
def test_exported_rows_have_a_model_card(table):
    folder, *_ = table
    exported = folder / "saved_model" / "seed0" / "anp_vs"
    assert (exported / "1" / "saved_model.pb").exists()
    row = json.loads((exported / "results.json").read_text())
    card = (exported / "README.md").read_text()
    assert f"| white-box accuracy, % | {row['white_box_accuracy']:.2f} (" in card
    assert f"--init_from={folder / 'seed0' / 'standard'}" in card
    assert "--beta=4.0" in card


def test_rows_that_were_trained_on_are_exported_again(tmp_path, monkeypatch):
    """Of a row that was not, and of a run that is no row, nothing is exported."""
    exported = []
    monkeypatch.setattr(
        train_command, "release", lambda workdir, place: [exported.append((workdir, place))]
    )
    monkeypatch.setattr(train_command, "say_exported", lambda paths: None)
    runs = []
    for name, seconds in (("new", None), ("same", -10), ("trained_on", 10), ("source", None)):
        workdir = Workdir(tmp_path / name)
        workdir.path.mkdir()
        workdir.network.touch()
        if seconds is not None:
            version = tmp_path / "saved_model" / name / "1"
            version.mkdir(parents=True)
            (version / "saved_model.pb").touch()
            time_of_export = version.stat().st_mtime
            os.utime(workdir.network, (time_of_export + seconds,) * 2)
        runs.append(types.SimpleNamespace(name=name, workdir=workdir, row=name != "source"))
    command.export_rows(runs, tmp_path / "saved_model")
    places = [(runs[index].workdir, runs[index].name) for index in (0, 2)]
    assert exported == [(workdir, tmp_path / "saved_model" / name) for workdir, name in places]


@pytest.mark.slow
def test_a_finished_table_is_not_made_again(commands, table):
    folder, flags, *_ = table
    before = (folder / "table.json").read_text()
    networks = {p: p.stat().st_mtime_ns for p in folder.rglob("network.keras")}
    outcome = commands.run("reproduce", *flags)
    assert outcome.code == 0, outcome.err
    assert "running" not in outcome.out
    assert (folder / "table.json").read_text() == before
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("network.keras")} == networks


@pytest.mark.slow
def test_rows_of_other_settings_are_not_taken(commands, table):
    folder, flags, *_ = table
    before = (folder / "table.json").read_text()
    outcome = commands.run("reproduce", *flags, "--attack_steps=2")
    assert outcome.code == 2
    assert re.search(r"of another configuration: --attack_steps=1 \(now 2\)", outcome.err)
    assert (folder / "table.json").read_text() == before


@pytest.mark.slow
def test_all_rows(commands, tmp_path):
    flags = ["--table=mnist", f"--workdir={tmp_path / 'all'}", *TINY, "--row=standard --epochs=1"]
    outcome = commands.run("reproduce", *flags)
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "all" / "table.json").read_text())["rows"]
    assert [row["method"] for row in rows] == list(paper.METHODS)
    for row in rows:
        assert len(row["measured"]) == 10 + (row["method"] == "at_bnn")
    measured = {
        row["method"]: {name: figure["mean"] for name, figure in row["measured"].items()}
        for row in rows
    }
    assert measured["at_bnn"]["memory_percent"] == pytest.approx(200)
    assert measured["admm"]["weight_sparsity_percent"] == pytest.approx(80, abs=2)


@pytest.mark.slow
def test_wang2018_and_the_sparsity_curve(commands, tmp_path):
    tiny = [*TINY, "--epochs=1", "--batch_size=16", "--limit_train_examples=48"]
    asked = ["fgsm_weight_80", "pgd_filter_65"]
    flags = ["--table=wang2018", f"--methods={','.join(asked)}", f"--workdir={tmp_path / 'w'}"]
    outcome = commands.run("reproduce", *flags, *tiny)
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "w" / "table.json").read_text())["rows"]
    assert len(rows) == 10
    measured = [row["measured"] for row in rows if row["measured"]]
    for row, (training, pruning, share, tolerance) in zip(
        measured, [("fgsm", "weight", 80, 2), ("pgd", "filter", 65, 12)], strict=True
    ):  # one filter of this small network is up to 10 % of a layer
        assert (row["training"], row["pruning"]) == (training, pruning)
        assert row["parameters_pruned_percent"] == pytest.approx(share, abs=tolerance)
        assert row["fgsm_eps0.1"] <= row["natural"] + 20
        assert (row["test_examples"], row["black_box_images"]) == (40, 20)
    flags = ["--figure=sparsity", "--methods=bp", f"--workdir={tmp_path / 's'}", *tiny]
    outcome = commands.run("reproduce", *flags)
    assert outcome.code == 0, outcome.err
    points = json.loads((tmp_path / "s" / "sparsity.json").read_text())
    assert [point["beta"] for point in points] == [0.25, 0.5, 1.0, 2.0, 4.0]
    made = {(point["dataset"], point["epsilon"], point["attack"]) for point in points}
    assert made == {("mnist", 0.3, "PGD-2")}
    assert (tmp_path / "s" / "sparsity.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--table: expected either --table or --figure"),
        (["--table=mnist", "--figure=sparsity"], "--table: expected either"),
        (["--table=imagenet"], "--table: expected one of mnist, cifar10, cifar100, wang2018"),
        (["--figure=roc"], "--figure: expected one of sparsity"),
        (["--table=mnist", "--methods=at,atvs"], "--methods: .*'atvs'; did you mean at_vs"),
        (["--table=mnist", "--methods=at,at"], "--methods: expected each method once"),
        (
            ["--table=wang2018", "--seeds=2"],
            "--seeds: expected together with --table=mnist, .*, received with --table=wang2018",
        ),
        (["--table=wang2018", "--export"], "--export: expected together with"),
        (["--figure=sparsity", "--standard_attack=9"], "--standard_attack: expected together with"),
        (["--figure=proved", "--methods=at"], "--methods: .*, received with --figure=proved"),
        (["--figure=proved", "--row=at --epochs=1"], "--row: expected together with"),
        (["--table=wang2018", "--row=bogus --nonsense"], "--row: expected one of .*'bogus'"),
        (["--table=wang2018", "--row=at --nonsense"], "--row: at --nonsense: unknown flag"),
        (
            ["--table=wang2018", "--row=at --epochs=1"],
            "--row: expected together with .*, or in a flagfile, received with --table=wang2018",
        ),
        (["--table=mnist", "--init_from=at"], "--init_from: expected a path, or --row='METHOD"),
        (["--table=mnist", "--seeds=0"], "--seeds: expected a value at least 1, received 0"),
        (
            ["--table=mnist", "--method=at"],
            "--method: there is no such flag; did you mean --methods?",
        ),
    ],
)
def test_errors(commands, tmp_path, flags, message):
    outcome = commands.run("reproduce", f"--workdir={tmp_path / 'out'}", *flags)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()
