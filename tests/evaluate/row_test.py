"""The results row and the tables made of it."""

import contextlib
import functools
import json

import numpy as np
import pytest

from anp_tf import data
from anp_tf.evaluate import row as row_module
from anp_tf.evaluate.row import black_box_images, comparison, results_row
from anp_tf.intervals import with_interval
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import cost, slim, unit_sparsity
from anp_tf.settings import Settings
from anp_tf.timing import latencies

# The columns of the paper's tables.
COLUMNS = [
    "dataset",
    "architecture",
    "method",
    "clean_accuracy",
    "white_box_accuracy",
    "black_box_accuracy",
    "white_box_vulnerability",
    "black_box_vulnerability",
    "memory_percent",
    "flops_reduction",
    "sparsity_percent",
]
WIDTH = 0.2


def settings(method):
    return Settings(
        method=method,
        width_multiplier=WIDTH,
        eval_attack_steps=2,
        eval_attack_step_size=0.2,
        seed=3,
    )


@pytest.fixture(scope="module", autouse=True)
def few_calls():
    """Latencies are medians of few calls, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_module, "latencies", functools.partial(latencies, repeats=2))
        yield


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 28, 28, 1), np.uint8)
    return data.Examples(images, rng.integers(0, 10, 30).astype(np.int32), 10)


def images_of(network, examples):
    return black_box_images(settings("standard"), network, examples)


def masked(pruned):
    """A LeNet with masks that prune about this share of the units."""
    network = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=WIDTH)
    rng = np.random.default_rng(1)
    for mask in mask_layers(network):
        mask.a_u.assign(np.where(rng.random(mask.units) < pruned, -20.0, 3.0))
    return network


@pytest.fixture(scope="module")
def pruned():
    return masked(0.6)


@pytest.fixture(scope="module")
def rows(examples, pruned):
    """The rows of a network without masks, of one with, and of one that is pruned altogether."""
    dense = lenet5_caffe(width_multiplier=WIDTH)
    return {
        "standard": results_row(settings("standard"), dense, examples),
        "anp_vs": results_row(settings("anp_vs"), pruned, examples, images_of(dense, examples)),
        "bp": results_row(settings("bp"), masked(1.1), examples),
    }


@pytest.mark.parametrize("method", ["standard", "anp_vs", "bp"])
def test_row_has_the_papers_columns_and_is_json(rows, method):
    row = rows[method]
    assert row.keys() >= set(COLUMNS)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["dataset"], row["architecture"], row["method"]) == ("mnist", "lenet5_caffe", method)
    assert (row["attack"], row["epsilon"], row["step_size"]) == ("PGD-2", 0.3, 0.2)
    assert (row["test_examples"], row["seed"]) == (30, 3)


def test_shares_are_percentages(rows):
    row = rows["anp_vs"]
    for name in COLUMNS[3:6]:
        assert 0 <= row[name] <= 100
        assert row[name] * 30 / 100 == pytest.approx(round(row[name] * 30 / 100))
    assert 50 < row["sparsity_percent"] < 70
    assert 1 < row["memory_percent"] < 50
    assert row["sparsity_percent"] < row["weight_sparsity_percent"] < 100


def test_clean_accuracy_is_the_networks(examples, pruned, rows):
    row = rows["anp_vs"]
    correct = np.argmax(pruned(examples.images / np.float32(255)), -1) == examples.labels
    assert row["clean_accuracy"] == pytest.approx(100 * np.mean(correct))


def test_network_without_masks(rows):
    row = rows["standard"]
    assert row["memory_percent"] == 100
    assert row["flops_reduction"] == 1
    assert row["sparsity_percent"] == 0
    assert row["weight_sparsity_percent"] == 0
    assert row["dense_parameter_bytes"] == row["slim_parameter_bytes"]
    assert row["black_box_accuracy"] is None
    assert row["black_box_vulnerability"] is None


def test_costs_are_of_the_network_and_its_slimmed_form(pruned, rows):
    row = rows["anp_vs"]
    dense, small = cost(pruned), cost(slim(pruned))
    assert row["flops_reduction"] == dense.flops / small.flops > 2
    assert row["memory_percent"] == 100 * small.memory / dense.memory
    assert row["sparsity_percent"] == unit_sparsity(pruned)
    assert row["dense_parameter_bytes"] == 4 * dense.parameters
    assert row["slim_parameter_bytes"] == 4 * small.parameters


def test_network_that_is_pruned_altogether(rows):
    row = rows["bp"]
    assert row["sparsity_percent"] == 100
    assert row["white_box_vulnerability"] == 0
    assert row["flops_reduction"] > rows["anp_vs"]["flops_reduction"]
    assert row["clean_accuracy"] == row["white_box_accuracy"]


@pytest.mark.slow
def test_black_box_on_the_network_itself_is_white_box(examples):
    seen = {}

    @contextlib.contextmanager
    def counter(title, total):
        seen[title] = [total]
        yield seen[title].append

    network = lenet5_caffe(width_multiplier=WIDTH)
    black_box = black_box_images(settings("standard"), network, examples, counter)
    row = results_row(settings("standard"), network, examples, black_box, counter)
    assert row["black_box_accuracy"] == row["white_box_accuracy"]
    assert row["black_box_vulnerability"] == row["white_box_vulnerability"] > 0
    assert seen == {
        "images of black-box PGD-2": [30, 30],
        "standard  white-box PGD-2": [30, 30],
        "standard  black-box PGD-2": [30, 30],
    }


@pytest.mark.parametrize("shape", [{"input_shape": (32, 32, 1)}, {"num_classes": 7}])
def test_source_of_another_shape(examples, shape):
    with pytest.raises(ValueError, match="must take the images and know the classes of the data"):
        black_box_images(settings("standard"), lenet5_caffe(**shape), examples)


# --------------------------------------------------------------------------------------- tables


def test_comparison_shows_every_figure(rows):
    rows = list(rows.values())
    text = comparison(rows)
    assert "mnist, 30 test images" in text
    lines = [line.strip() for line in text.splitlines()]
    assert ["standard", "anp_vs", "bp"] in [line.split() for line in lines]

    def shown(label):
        (line,) = (line for line in lines if line.startswith(label))
        return line.removeprefix(label).replace(" → ", "→").replace(" ± ", "±").split()

    def change(row, form, dense, small):
        if row["method"] == "standard":
            return form.format(dense)
        return f"{form.format(dense)}→{form.format(small)}"

    for label, form, name in [
        ("vulnerability", "{:.4f}", "white_box_vulnerability"),
        ("sparsity (units pruned), %", "{:.1f}", "sparsity_percent"),
        ("FLOPs reduction, x", "{:.2f}", "flops_reduction"),
    ]:
        assert shown(label) == [form.format(row[name]) for row in rows], label
    assert shown("black-box PGD-2, %") == [
        "-",
        *with_interval(rows[1]["black_box_accuracy"], 30).split(),
        "-",
    ]
    assert shown("black-box vulnerability")[1] == f"{rows[1]['black_box_vulnerability']:.4f}"
    for label, name in [
        ("clean accuracy, %", "clean_accuracy"),
        ("accuracy under PGD-2, ε = 0.3, %", "white_box_accuracy"),
    ]:
        expected = " ".join(with_interval(row[name], 30) for row in rows)
        assert shown(label) == expected.split()
    assert shown("parameter bytes") == [
        change(row, "{:,}", row["dense_parameter_bytes"], row["slim_parameter_bytes"])
        for row in rows
    ]
    for size in ("1", "256"):
        for row, latency in zip(rows, shown(f"latency, batch {size}, ms"), strict=True):
            times = row["latency_milliseconds"][size]
            ends = [text.partition("±")[0] for text in latency.split("→")]
            names = ("dense", "slim")[-len(ends) :]
            assert ends == [f"{times[name]:.2f}" for name in names]
            assert row["method"] != "standard" or len(ends) == 1
    assert "…" not in text


def test_comparison_of_one(rows):
    text = comparison([rows["standard"] | {"epsilon": 2 / 255}])
    assert "accuracy under PGD-2, ε = 2/255, %" in text
    assert "standard" in text
    assert "black-box" not in text  # it was not measured
    assert "→" not in text


def test_no_column_is_cut_off_with_full_size_networks(rows):
    times = {
        **{"dense": 1234.56, "dense_quartiles": [1200.5, 1300.5]},
        **{"slim": 123.456, "slim_quartiles": [110.5, 130.5]},
    }
    large = rows["anp_vs"] | {
        "dense_parameter_bytes": 1_724_320,
        "slim_parameter_bytes": 345_678,
        "latency_milliseconds": {"1": times, "256": times},
    }
    text = comparison([rows["standard"] | large, large, large])
    assert text.count("1,724,320 → 345,678") == 3
    assert text.count("1234.56 ± 50.00 → 123.46 ± 10.00") == 6
