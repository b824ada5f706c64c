"""The worked examples of `docs/extending.md` do what they say."""

import functools
import pathlib
import re

import pytest

from anp_tf.bounds import rules
from anp_tf.pruning import handlers

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "extending.md"


def restore(table, known):
    table.clear()
    table.update(known)


@pytest.mark.slow
def test_the_worked_examples(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for table in (handlers._HANDLERS, rules._LAYERS):
        request.addfinalizer(functools.partial(restore, table, dict(table)))
    namespace = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, namespace)
    small, cost, result = (namespace[name] for name in ("small", "cost", "result"))
    assert 0 <= result["robust_accuracy"] <= result["clean_accuracy"] <= 100
    assert [attack["name"] for attack in result["attacks"]] == ["sign descent"]
    assert result["test_examples"] == 96
    candidate, own, threat = (namespace[name] for name in ("candidate", "own", "threat"))
    with pytest.raises(ValueError, match="argument `options`"):
        namespace["attack_candidate"](candidate, own, "judged", threat, restarts=2)
    rows = {layer.name: layer.multiply_adds for layer in cost(small).layers}
    assert rows["gain"] == 14 * 14 * 4
    assert rows["gain_1"] == 12 * 12 * 6


def test_the_table_names_what_a_handler_has():
    names = re.findall(r"`(\w+)[`(]", PAGE.read_text().split("| question |")[1].split("\n\n")[0])
    assert set(names) >= {"tied", "whole", "constants", "keeps", "build", "multiply_adds"}
    assert all(hasattr(handlers.Handler, name) for name in names)
