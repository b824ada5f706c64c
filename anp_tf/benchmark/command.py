"""What the command does once its flags are parsed."""

import pathlib

from absl import flags

from anp_tf.benchmark.agreement import agreement_record, agreement_table, benchmark_agreement
from anp_tf.benchmark.attack import BATCH_SIZES, attack_record, attack_table, benchmark_attack
from anp_tf.benchmark.commands import benchmark_commands, commands_record, commands_table
from anp_tf.benchmark.networks import benchmark_networks, networks_record, networks_table
from anp_tf.benchmark.scaling import benchmark_scaling, scaling_record, scaling_table
from anp_tf.benchmark.slim import benchmark_slim, slim_record, slim_table
from anp_tf.benchmark.training import benchmark_training, training_record, training_table
from anp_tf.benchmark.verdict import benchmark_verdict, verdict_record, verdict_table
from anp_tf.files import write_json
from anp_tf.methods import METHODS
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
    if not given.networks or not BATCH_SIZES.keys() >= set(given.networks):
        raise ValueError(
            f"networks: expected some of {', '.join(BATCH_SIZES)}, received "
            f"{','.join(given.networks)}"
        )
    record = {}
    if given.norm not in ("Linf", "L2"):
        raise ValueError(f"norm: expected Linf or L2, received {given.norm}")
    subjects = subjects or [name for name in BENCHMARKS if _is_usual(name, given)]
    judging = [name for name in subjects if name in JUDGING]
    if judging and not given.shipped:
        raise ValueError(f"{judging[0]} needs --shipped, the folder of an exported network")
    if judging == subjects and not given.op_threads:
        use_threads_for_attacks()
    for subject in subjects:
        measure, table, entries = BENCHMARKS[subject]
        measured = measure(given)
        print(table(measured), flush=True)
        record[subject] = entries(measured)
    if given.json:
        write_json(pathlib.Path(given.json), record)


def _is_usual(name, given):
    """Whether a benchmark is made where none is named."""
    return name not in ("networks", "agreement") and (name != "verdict" or given.shipped)


JUDGING = ("agreement", "verdict")
BENCHMARKS = {
    "agreement": (
        lambda given: benchmark_agreement(
            given.shipped, given.images, given.norm, given.epsilon, given.rows
        ),
        agreement_table,
        agreement_record,
    ),
    "attack": (
        lambda given: benchmark_attack(given.networks, given.width_multiplier, given.repeats),
        attack_table,
        attack_record,
    ),
    "training": (
        lambda given: benchmark_training(
            given.methods,
            given.batch_size,
            given.attack_steps,
            given.mixed_precision,
            given.repeats,
        ),
        training_table,
        training_record,
    ),
    "networks": (
        lambda given: benchmark_networks(given.zoo or None, given.rows),
        networks_table,
        networks_record,
    ),
    "scaling": (
        lambda given: benchmark_scaling(given.repeats),
        scaling_table,
        scaling_record,
    ),
    "slim": (
        lambda given: benchmark_slim(given.shipped, given.width_multiplier, given.repeats),
        slim_table,
        slim_record,
    ),
    "verdict": (
        lambda given: benchmark_verdict(given.shipped, given.images, given.norm, given.epsilon),
        verdict_table,
        verdict_record,
    ),
    "commands": (
        lambda given: benchmark_commands(given.repeats),
        commands_table,
        commands_record,
    ),
}
