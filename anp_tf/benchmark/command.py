"""What the command does once its flags are parsed."""

import json
import pathlib

from absl import flags

from anp_tf.benchmark.agreement import benchmark_agreement
from anp_tf.benchmark.attack import BATCH_SIZES, benchmark_attack
from anp_tf.benchmark.commands import benchmark_commands
from anp_tf.benchmark.networks import benchmark_networks
from anp_tf.benchmark.scaling import benchmark_scaling
from anp_tf.benchmark.slim import benchmark_slim
from anp_tf.benchmark.training import benchmark_training
from anp_tf.benchmark.verdict import benchmark_verdict
from anp_tf.benchmark.zoo import zoo
from anp_tf.files import check_written, write_json
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS
from anp_tf.options import one_of
from anp_tf.threads import use_threads_for_attacks


def main(subjects):
    given = flags.FLAGS
    for name in ("width_multiplier", "repeats", "batch_size", "attack_steps", "images"):
        if given[name].value <= 0:
            raise ValueError(f"{name}: expected a value above 0, received {given[name].value}")
    if given.mixed_precision not in ("none", "bfloat16"):
        raise ValueError(
            "mixed_precision: expected none or bfloat16, received " + repr(given.mixed_precision)
        )
    if given.op_threads < 0:
        raise ValueError(f"op_threads: expected a value at least 0, received {given.op_threads}")
    unknown = [name for name in given.methods if name not in METHODS]
    if unknown or "at" not in given.methods:
        raise ValueError(
            f"methods: expected at and others of {', '.join(METHODS)}, received "
            f"{','.join(given.methods)}"
        )
    one_of("network", given.network, NETWORKS)
    if not given.networks or not BATCH_SIZES.keys() >= set(given.networks):
        raise ValueError(
            f"networks: expected some of {', '.join(BATCH_SIZES)}, received "
            f"{','.join(given.networks)}"
        )
    if given.zoo and (unknown := set(given.zoo) - set(zoo())):
        raise ValueError(
            f"zoo: expected some of {', '.join(zoo())}, received {','.join(sorted(unknown))}"
        )
    if given.json:
        check_written("json", given.json, holds_record)
    record = {}
    if given.norm not in ("Linf", "L2"):
        raise ValueError(f"norm: expected Linf or L2, received {given.norm}")
    subjects = subjects or [name for name in BENCHMARKS if _is_usual(name, given)]
    judging = [name for name in subjects if name in ON_SHIPPED_NETWORKS]
    if judging and not given.shipped:
        raise ValueError(f"{judging[0]} needs --shipped, the folder of an exported network")
    if judging == subjects and not given.op_threads:
        use_threads_for_attacks()
    for subject in subjects:
        measured = BENCHMARKS[subject](given)
        print(measured.table(), flush=True)
        record[subject] = measured.record()
    if given.json:
        write_json(pathlib.Path(given.json), record)


def holds_record(path):
    """Whether a file is one of `--json`."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() <= BENCHMARKS.keys()


def _is_usual(name, given):
    """Whether a benchmark is made where none is named."""
    return name not in ("networks", "agreement") and (name != "verdict" or given.shipped)


ON_SHIPPED_NETWORKS = ("agreement", "verdict")
# What has `table()` and `record()`, by the name; each takes the flags.
BENCHMARKS = {
    "agreement": lambda given: benchmark_agreement(
        given.shipped, given.images, given.norm, given.epsilon, given.rows
    ),
    "attack": lambda given: benchmark_attack(given.networks, given.width_multiplier, given.repeats),
    "training": lambda given: benchmark_training(
        given.methods,
        given.network,
        given.width_multiplier,
        given.batch_size,
        given.attack_steps,
        given.mixed_precision,
        given.repeats,
    ),
    "networks": lambda given: benchmark_networks(given.zoo or None, given.rows),
    "scaling": lambda given: benchmark_scaling(given.repeats),
    "slim": lambda given: benchmark_slim(given.shipped, given.width_multiplier, given.repeats),
    "verdict": lambda given: benchmark_verdict(
        given.shipped, given.images, given.norm, given.epsilon
    ),
    "commands": lambda given: benchmark_commands(given.repeats),
}
