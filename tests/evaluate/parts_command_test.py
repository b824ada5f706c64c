"""`evaluate --part`: several processes judge one network together."""

import json
import shutil

import pytest


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.path / "anp_vs", tmp_path / "run")


def verdict(folder):
    (result,) = json.loads((folder / "robustness.json").read_text()).values()
    for attack in result["attacks"]:
        del attack["seconds"]
    return result


@pytest.mark.slow
def test_parts_at_once_give_what_one_process_gives(commands, copy, tmp_path):
    flags = [f"--workdir={copy}", "--attack=pgd3,square", "--queries=20", "--batch_size=12"]
    flags.append("--limit_test_examples=50")
    assert commands.run("evaluate", *flags, f"--output={tmp_path}/one").code == 0
    flags.append(f"--output={tmp_path}/parts")
    third = commands.run("evaluate", *flags, "--part=3/3")
    assert third.code == 0, third.err
    assert "part 3/3 is done; others are not there yet" in third.out
    assert not (tmp_path / "parts" / "robustness.json").exists()
    both = [commands.start("evaluate", *flags, f"--part={k}/3") for k in (1, 2)]
    assert [process.wait().code for process in both] == [0, 0]
    whole = verdict(tmp_path / "one")
    assert verdict(tmp_path / "parts") == whole
    (tmp_path / "parts" / "robustness.json").unlink()
    last = commands.run("evaluate", *flags)
    assert f"robust accuracy {whole['robust_accuracy']:.2f} %" in last.out
    assert verdict(tmp_path / "parts") == whole
