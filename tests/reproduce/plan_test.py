"""Which runs a table takes, in which order, with which settings."""

import dataclasses
import pathlib

import pytest

from anp_tf.methods import METHODS
from anp_tf.reproduce import paper
from anp_tf.reproduce.plan import read_rows, table_runs, with_starts
from anp_tf.reproduce.sparsity import ADMM_SPARSITIES, BETA_FACTORS, sparsity_runs
from anp_tf.reproduce.wang2018 import row_names, wang2018_runs
from anp_tf.settings import Settings, unread

ROOT = pathlib.Path(__file__).parents[2]
BASE = Settings(beta=7.0, epochs=9, seed=4)


def names(runs):
    return [run.name for run in runs]


@pytest.mark.parametrize(
    ("methods", "ordered"),
    [
        (["standard", "at"], ["standard", "at"]),
        (["admm"], ["at", "admm"]),
        (["anp", "standard", "at", "admm"], ["standard", "anp", "at", "admm"]),
        (["at", "admm", "bp", "anp_vs"], ["at", "admm", "standard", "bp", "anp_vs"]),
    ],
)
def test_what_a_method_starts_from_comes_before_it(methods, ordered):
    assert with_starts(methods) == ordered


def test_runs_of_a_table(tmp_path):
    rows = {"standard": {"epochs": 3}}
    runs = table_runs(tmp_path, BASE, ["admm", "anp_vs"], seeds=2, rows=rows)
    assert names(runs) == ["source"] + [
        f"seed{seed}/{method}" for seed in (4, 5) for method in ("at", "admm", "standard", "anp_vs")
    ]
    assert [run.name for run in runs if run.row] == [
        f"seed{seed}/{method}" for seed in (4, 5) for method in ("admm", "anp_vs")
    ]
    source, at, admm, standard, anp_vs, *others = runs
    assert source.settings.method == at.settings.method == "at"
    assert source.settings.seed not in {run.settings.seed for run in (at, *others)}
    assert [run.settings.seed for run in others] == [5] * 4
    assert source.source is None
    assert {run.source.path for run in runs[1:]} == {source.workdir.path}
    assert admm.settings.init_from == str(at.workdir.path) == str(tmp_path / "seed4" / "at")
    assert anp_vs.settings.init_from == str(standard.workdir.path)
    assert others[3].settings.init_from == str(others[2].workdir.path)
    assert at.settings.init_from is None
    assert (standard.settings.epochs, anp_vs.settings.epochs) == (3, 9)
    assert not any(run.done for run in runs)


def test_options_of_single_rows(tmp_path):
    rows = read_rows(
        ["anp_vs --init_from=at --epochs=5", "source --epochs=2", "at --decay_at=0.4,0.6", "anp_vs"]
    )
    runs = table_runs(tmp_path, BASE, ["anp_vs", "at_vs"], seeds=1, rows=rows)
    assert names(runs) == ["source", "seed4/at", "seed4/anp_vs", "seed4/at_vs"]
    source, at, anp_vs, at_vs = (run.settings for run in runs)
    assert [s.epochs for s in (source, at, anp_vs, at_vs)] == [2, 9, 5, 9]
    assert anp_vs.init_from == str(tmp_path / "seed4" / "at")
    assert (at.decay_at, at_vs.decay_at, at_vs.init_from) == ((0.4, 0.6), BASE.decay_at, None)
    assert [run.row for run in runs] == [False, False, True, True]


def test_a_row_may_be_taught_by_another(tmp_path):
    rows = read_rows(["anp --teacher=at_vs"])
    runs = table_runs(tmp_path, BASE, ["anp"], seeds=1, rows=rows)
    assert names(runs) == ["source", "seed4/standard", "seed4/at_vs", "seed4/anp"]
    assert runs[3].settings.teacher == str(tmp_path / "seed4" / "at_vs")
    assert runs[2].settings.teacher is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("anp_v --epochs=3", "row: expected one of .*, received 'anp_v'; did you mean anp_vs"),
        ("at --epoch=3", "row: at --epoch=3: unknown flag in the line '--epoch=3'"),
        ("at epochs", "row: at epochs: unknown flag"),
        ("", "row: expected one of .*, received ''"),
        ("at --epochs='3", "row: at --epochs='3: No closing quotation"),
        ("at --epsilon=0.2", "row: at --epsilon=0.2: expected --epsilon for all rows"),
        ("at --network=vgg16", "expected --network for all rows"),
        ("anp --seed=7", "expected --seed for all rows"),
        ("anp --method=at", "expected the method as the first word alone"),
        ("source --method=anp", "expected the method as the first word alone"),
    ],
)
def test_rows_that_cannot_be_read(text, said):
    with pytest.raises(ValueError, match=said):
        read_rows([text])


@pytest.mark.parametrize("name", ["init_from", "teacher"])
def test_another_row_is_named_by_a_row_alone(tmp_path, name):
    settings = dataclasses.replace(BASE, **{name: "at"})
    message = f"^{name}: expected a path, or --row='METHOD --{name}=at', received at$"
    for make in (
        lambda: table_runs(tmp_path, settings, ["at", "anp"], seeds=1),
        lambda: sparsity_runs(tmp_path, settings, ("anp",)),
        lambda: wang2018_runs(tmp_path, settings),
        lambda: table_runs(tmp_path, BASE, ["at"], 1, read_rows([f"source --{name}=at"])),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize(
    ("rows", "way"),
    [
        (["at --init_from=anp", "anp --init_from=at"], "at from anp from at"),
        (["at --teacher=at"], "at from at"),
        (["anp --init_from=trades", "trades --teacher=anp"], "trades from anp from trades"),
    ],
)
def test_rows_that_need_one_another_are_refused(tmp_path, rows, way):
    with pytest.raises(ValueError, match=f"row: expected methods .*, received {way}$"):
        table_runs(tmp_path, BASE, ["at", "trades"], 1, read_rows(rows))


def test_beta_is_of_the_methods_that_prune_under_attack(tmp_path):
    runs = table_runs(tmp_path, BASE, paper.METHODS, seeds=1)
    betas = {run.settings.method: run.settings.beta for run in runs}
    assert betas == {
        **{method: METHODS[method].default_beta for method in paper.METHODS},
        "anp": 7.0,
        "anp_vs": 7.0,
    }


@pytest.mark.parametrize(
    ("option", "value", "readers"),
    [
        ("mask_learning_rate", 0.5, {"bp", "anp", "anp_vs"}),
        ("kl_warmup_epochs", 1.5, {"bp", "at_bnn", "anp", "anp_vs"}),
        ("vulnerability_weight", 0.7, {"at_vs", "anp_vs"}),
        ("trades_beta", 3.0, {"trades"}),
        ("prior_scale", 0.3, {"at_bnn"}),
        ("target_sparsity", 0.3, {"admm"}),
        ("attack_steps", 3, set(paper.METHODS) - {"standard", "bp"}),
        ("learning_rate", 0.3, set(paper.METHODS)),
        ("granularity", "filter", set()),
    ],
)
def test_an_option_changes_only_the_rows_that_read_it(tmp_path, option, value, readers):
    changed = dataclasses.replace(BASE, **{option: value})
    runs = [table_runs(tmp_path, s, paper.METHODS, seeds=1) for s in (BASE, changed)]
    differing = {
        run.settings.method
        for run, other in zip(*runs, strict=True)
        if run.settings != other.settings
    }
    assert differing == readers


def test_every_option_that_a_method_takes_exists():
    for method in METHODS.values():
        assert set(method.takes) <= {field.name for field in dataclasses.fields(Settings)}
        assert set(unread(method)).isdisjoint(method.takes)


def test_a_network_to_start_from_can_be_given(tmp_path):
    settings = dataclasses.replace(BASE, init_from="elsewhere")
    runs = table_runs(tmp_path, settings, ["anp"], seeds=1)
    assert runs[-1].settings.init_from == "elsewhere"


def test_runs_of_the_sparsity_curve(tmp_path):
    runs = sparsity_runs(tmp_path, BASE, ("anp_vs", "admm", "bp"))
    assert names(runs) == [
        "standard",
        *(f"anp_vs_beta{7 * factor:g}" for factor in BETA_FACTORS),
        "at",
        *(f"admm_{100 * target:g}" for target in ADMM_SPARSITIES),
        *(f"bp_beta{factor:g}" for factor in BETA_FACTORS),
    ]
    assert [run.settings.beta for run in runs if run.settings.method == "anp_vs"] == [
        7 * factor for factor in BETA_FACTORS
    ]
    targets = [run.settings.target_sparsity for run in runs if run.settings.method == "admm"]
    assert targets == list(ADMM_SPARSITIES)
    assert {run.name for run in runs if not run.row} == {"standard", "at"}


def test_runs_of_the_sparsity_curve_by_units(tmp_path):
    """With `target_units` they keep shares of so many units, and each mask one at least."""
    settings = dataclasses.replace(BASE, mask_freeze_at=0.1, target_units=(2.0, 20.0, 100.0))
    runs = sparsity_runs(tmp_path, settings, ("anp", "admm"))
    kept = [run.settings.target_units for run in runs if run.settings.method == "anp"]
    assert kept == [(2, 20, 100), (2, 15, 75), (1, 10, 50), (1, 6, 30), (1, 4, 20)]
    units = [f"anp_units{count}" for count in (122, 92, 61, 37, 25)]
    targets = [f"admm_{100 * target:g}" for target in ADMM_SPARSITIES]
    assert names(runs) == ["standard", *units, "at", *targets]


@pytest.mark.parametrize(
    ("changes", "strength", "values"),
    [
        ({"target_units": (2, 2)}, "target_units", [(2, 2), (1, 1)]),
        ({"target_units": (3, 1)}, "target_units", [(3, 1), (2, 1), (1, 1)]),
        ({"beta": 0.0}, "beta", [0.0]),
    ],
)
def test_equal_points_of_the_sparsity_curve_are_one(tmp_path, caplog, changes, strength, values):
    settings = dataclasses.replace(BASE, mask_freeze_at=0.1, **changes)
    _, *runs = sparsity_runs(tmp_path, settings, ("anp",))
    assert [getattr(run.settings, strength) for run in runs] == values
    message = f"anp: {len(values)} points in place of 5: several multiples of {strength} are"
    assert message in caplog.text


def test_runs_of_wang2018(tmp_path):
    runs = wang2018_runs(tmp_path, BASE)
    assert names(runs) == list(row_names())
    assert len(set(names(runs))) == 10
    chosen = {
        run.name: (
            run.settings.method,
            run.settings.attack,
            run.settings.granularity,
            run.settings.target_sparsity,
        )
        for run in runs
    }
    assert chosen["fgsm_none_0"][:2] == ("at", "fgsm")
    assert chosen["pgd_none_0"][:2] == ("at", "pgd")
    assert chosen["fgsm_weight_96"] == ("magnitude", "fgsm", "weight", 0.96)
    assert chosen["pgd_filter_65"] == ("magnitude", "pgd", "filter", 0.65)


@pytest.mark.parametrize("table", paper.SETTINGS)
def test_the_papers_settings_are_those_of_the_config(table):
    """`reproduce` without a flagfile does what it does with the config of the table."""
    lines = (ROOT / "configs" / f"{table}.cfg").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("--workdir", "--method", "--undefok"))]
    kept = [line for line in kept if line != "--export"]
    assert Settings.from_flag_lines(kept) == Settings(**paper.SETTINGS[table])


@pytest.mark.parametrize("table", paper.SETTINGS)
def test_paper_rows(table):
    rows = paper.paper_rows(table)
    assert set(rows) <= set(paper.METHODS)
    assert rows["anp_vs"]["flops_reduction"] == {"mnist": 10.57, "cifar10": 2.41}.get(table, 2.02)
    if table == "cifar10":
        assert set(rows["anp"]) == {
            "clean_accuracy",
            "white_box_accuracy",
            "white_box_vulnerability",
        }
