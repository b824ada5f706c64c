"""How long a command takes to say something: its help, a wrong flag, a file that is missing."""

import subprocess
import sys

from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.timing import median_times

PROCESSES = {
    "import anp_tf": ["-c", "import anp_tf"],
    "anp-tf": ["-m", "anp_tf"],
    "anp-tf train --help": ["-m", "anp_tf", "train", "--help"],
    "a wrong flag": ["-m", "anp_tf", "train", "--epsilom=0.3"],
    "a value out of range": ["-m", "anp_tf", "train", "--workdir=x", "--epsilon=3"],
    "a workdir that is not there": ["-m", "anp_tf", "evaluate", "--workdir=/none"],
    "import tensorflow": ["-c", "import tensorflow"],
}


def benchmark_commands(repeats=5):
    """Times processes that take turns, TensorFlow's import among them for comparison.

    Args:
        repeats: Integer, timed processes of each kind.

    Returns:
        `BenchmarkTable`.
    """
    calls = {
        name: lambda arguments=arguments: subprocess.run(
            [sys.executable, *arguments], capture_output=True, check=False
        )
        for name, arguments in PROCESSES.items()
    }
    times = median_times(calls, repeats, warm_ups=1)
    return BenchmarkTable(
        "from the start of a process to its end",
        {"seconds": ".2f"},
        {name: {"seconds": milliseconds / 1000} for name, milliseconds in times.items()},
    )
