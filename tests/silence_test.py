"""What compiled code prints is not shown, unless the process crashes."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("ending", "code", "shown"),
    [
        ("pass", 0, ["after"]),
        ("os.abort()", -6, ["note 29", "F0000 why it failed"]),
        ("sys.exit('one line')", 1, ["one line"]),
    ],
)
def test_only_the_last_lines_of_a_crash_are_shown(ending, code, shown):
    program = f"""
import os, sys
from anp_tf.silence import silent_stderr
with silent_stderr():
    for number in range(30):
        os.write(2, b"note %d\\n" % number)
    os.write(2, b"F0000 why it failed")
    {ending}
print("after", file=sys.stderr)
"""
    run = [sys.executable, "-c", program]
    process = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = process.stderr.splitlines()
    assert process.returncode == code
    assert lines[-len(shown) :] == shown
    assert len(lines) == (20 if code == -6 else 1)
