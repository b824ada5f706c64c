"""The worked examples of `docs/extending.md` do what they say."""

import pathlib
import re

from anp_tf.pruning import handlers

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "extending.md"


def test_the_worked_examples(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = dict(handlers._HANDLERS)
    request.addfinalizer(lambda: (handlers._HANDLERS.clear(), handlers._HANDLERS.update(known)))
    namespace = {"__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, namespace)
    small, cost, result = (namespace[name] for name in ("small", "cost", "result"))
    assert 0 <= result["robust_accuracy"] <= result["clean_accuracy"] <= 100
    assert result["test_examples"] == 96
    rows = {layer.name: layer.multiply_adds for layer in cost(small).layers}
    assert rows["gain"] == 14 * 14 * 4
    assert rows["gain_1"] == 12 * 12 * 6


def test_the_table_names_what_a_handler_has():
    names = re.findall(r"`(\w+)[`(]", PAGE.read_text().split("| question |")[1].split("\n\n")[0])
    assert set(names) >= {"tied", "whole", "constants", "keeps", "build", "multiply_adds"}
    assert all(hasattr(handlers.Handler, name) for name in names)
