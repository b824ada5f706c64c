"""`benchmark networks`: rows of networks that work, that half work, and that do not."""

import json

import keras
import pytest
from keras import layers

from anp_tf.benchmark import networks
from anp_tf.benchmark.agreement import benchmark_agreement
from anp_tf.benchmark.networks import NetworkRow, Networks, benchmark_networks, measure


def small():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(x))
    x = layers.GlobalAveragePooling2D()(layers.Activation("gelu")(x))
    return keras.Model(inputs, layers.Dense(4)(x))


@pytest.mark.slow
def test_a_row():
    row = measure("small", small)
    assert (row.network, row.side, row.masks, row.units, row.reason) == ("small", 8, 1, 8, None)
    assert row.masked_percent == 100
    # Half of the convolution and of the inputs of the dense layer.
    assert row.flops_percent == 50
    assert row.error < 1e-5
    assert (row.trained, row.saved_model, row.litert, row.onnx) == ("done", *["equal"] * 3)


def test_a_network_that_fails_is_a_row():
    def broken():
        raise RuntimeError("no weights\nin two lines")

    assert measure("broken", broken) == NetworkRow("broken", reason="RuntimeError: no weights")


def test_rows_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "zoo", lambda: {"a": small, "b": small, "c": small})
    monkeypatch.setattr(networks, "_in_a_process", lambda name: NetworkRow(name, masks=1))
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"network": "b", "masks": 5}]))
    rows = benchmark_networks(["a", "b"], path, progress=lambda text: None).rows
    assert rows == [NetworkRow("a", masks=1), NetworkRow("b", masks=5)]
    assert [row["network"] for row in json.loads(path.read_text())] == ["b", "a"]
    with pytest.raises(ValueError, match=r"must be some of a, b, c\. Received: d"):
        benchmark_networks(["d"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', "expected a list, received {'a': 1}"),
        ('[{"network": "a", "foo": 1}]', "unexpected keyword argument 'foo'"),
        ('[{"masks": 1}]', "missing 1 required positional argument: 'network'"),
        ("[1]", "expected a dict, received 1"),
        ("rows", "Expecting value"),
    ],
)
def test_a_damaged_file_of_rows_is_named(tmp_path, text, message):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"rows\.json is damaged; remove it: .*{message}"):
        benchmark_networks(path=path)
    with pytest.raises(ValueError, match=r"rows\.json is damaged; remove it"):
        benchmark_agreement("nowhere", path=path)


def test_without_a_folder_for_the_rows_nothing_is_measured(tmp_path):
    path = tmp_path / "none" / "rows.json"
    with pytest.raises(ValueError, match=r"rows: there is no folder for .*rows\.json"):
        benchmark_networks(path=path, progress=pytest.fail)
    with pytest.raises(ValueError, match=r"rows: there is no folder for .*rows\.json"):
        benchmark_agreement("nowhere", path=path)


def test_the_table_has_a_note_for_each_reason():
    rows = [
        NetworkRow(
            "good", 32, 2, 1000, 99.6, 25.04, 30, 1e-7, "done", "equal", "equal", "Error: no"
        ),
        NetworkRow("bad", reason="Error: no"),
    ]
    _, _, good, bad, _, note = Networks(rows).table().splitlines()
    assert good == (
        "| good | 32 | 2 | 1,000 | 100 | 25.0 | 30.0 | 1e-07 | done | equal | equal | [1] |"
    )
    assert bad.startswith("| bad [1] |  |")
    assert note.strip() == "[1] Error: no"
