"""The command `python -m anp_tf.benchmark`, as processes; no speed is asserted."""

import json
import pathlib

import pytest

from anp_tf.models import resnet18, vgg16
from anp_tf.pruning import cost

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models" / "mnist_cpu" / "anp_vs"


def test_slim(commands, tmp_path):
    flags = ["--width_multiplier=0.0625", "--repeats=1", f"--json={tmp_path / 'record.json'}"]
    outcome = commands.run("benchmark", "slim", f"--shipped={SHIPPED}", *flags)
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "record.json").read_text())
    assert list(record) == ["slim"]
    record = record["slim"]
    names = ["lenet5_caffe, mnist anp_vs"]
    names += [
        f"{network}, {share} % of the units pruned"
        for network in ("vgg16", "resnet18")
        for share in (50, 75, 90)
    ]
    figures = ["FLOPs"]
    for form in ("SavedModel", "LiteRT"):
        figures.append(f"bytes, {form}")
        figures += [f"speed, {form}, batch {size}" for size in (1, 32, 256)]
    assert set(record) == {f"{name}: {figure}" for name in names for figure in figures}
    assert all(value > 0 for value in record.values())
    row = json.loads((SHIPPED / "results.json").read_text())
    assert record[f"{names[0]}: FLOPs"] == pytest.approx(row["flops_reduction"])
    assert record[f"{names[0]}: bytes, LiteRT"] > 20
    for build, name in ((vgg16, names[1]), (resnet18, names[4])):
        half = cost(build(width_multiplier=1 / 32)).flops  # half the units of each layer
        dense = cost(build(width_multiplier=1 / 16)).flops
        assert record[f"{name}: FLOPs"] == pytest.approx(dense / half, rel=0.05)
    for name in names:
        assert name in outcome.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["smile"], "unexpected argument 'smile'; flags start with --, subjects are slim"),
        (["slim", "--repeats=0"], "--repeats: expected values above 0, received 1.0 and 0"),
        (["slim", "--shipped=nowhere"], "No such file or directory: 'nowhere/results.json'"),
    ],
)
def test_bad_values(commands, flags, message):
    outcome = commands.run("benchmark", *flags)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err
