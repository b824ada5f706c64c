"""The flags of the configs, and of commands beside the networks of the repository, are known."""

import json
import pathlib
import runpy
import shlex

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.cfg"))
RECORDED = sorted(
    {
        command
        for path in ROOT.glob("saved_models/**/results.json")
        if (command := json.loads(path.read_text()).get("command"))
    }
)


@pytest.fixture
def parsed(monkeypatch):
    """The options of a command line, read by the flags that the command defines."""
    monkeypatch.chdir(ROOT)
    before = set(flags.FLAGS)

    def parsed(command):
        python, option, module, *arguments = shlex.split(command)
        assert (python, option) == ("python", "-m")
        try:
            runpy.run_module(f"{module}.__main__")["define_flags"]()
            assert flags.FLAGS([module, *arguments]) == [module]
            return flags.FLAGS.flag_values_dict()
        finally:
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()

    return parsed


@pytest.mark.parametrize("name", CONFIGS)
def test_config(parsed, name):
    """Each names its command in its first line; `train` knows those of `reproduce`, too."""
    command = (ROOT / "configs" / name).read_text().splitlines()[0].removeprefix("# ")
    assert f"configs/{name}" in command
    assert parsed(command)["workdir"].startswith("runs/")
    if "anp_tf.reproduce" in command:
        parsed(f"python -m anp_tf.train --flagfile=configs/{name} --method=at")


@pytest.mark.parametrize("command", RECORDED)
def test_recorded_command(parsed, command):
    parsed(command)
