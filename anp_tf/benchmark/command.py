"""What the command does once its flags are parsed."""

import pathlib

from absl import flags

from anp_tf.benchmark import (
    agreement,
    attack,
    commands,
    networks,
    scaling,
    slim,
    training,
    verdict,
)
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
    if not given.networks or not attack.BATCH_SIZES.keys() >= set(given.networks):
        raise ValueError(
            f"networks: expected some of {', '.join(attack.BATCH_SIZES)}, received "
            f"{','.join(given.networks)}"
        )
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
        module, measure = BENCHMARKS[subject]
        measured = measure(given)
        print(module.table(measured), flush=True)
        record[subject] = module.record(measured)
    if given.json:
        write_json(pathlib.Path(given.json), record)


def _is_usual(name, given):
    """Whether a benchmark is made where none is named."""
    return name not in ("networks", "agreement") and (name != "verdict" or given.shipped)


ON_SHIPPED_NETWORKS = ("agreement", "verdict")
# By the name the module, which has `table` and `record` of what is measured, and what measures.
BENCHMARKS = {
    "agreement": (
        agreement,
        lambda given: agreement.benchmark_agreement(
            given.shipped, given.images, given.norm, given.epsilon, given.rows
        ),
    ),
    "attack": (
        attack,
        lambda given: attack.benchmark_attack(
            given.networks, given.width_multiplier, given.repeats
        ),
    ),
    "training": (
        training,
        lambda given: training.benchmark_training(
            given.methods,
            given.batch_size,
            given.attack_steps,
            given.mixed_precision,
            given.repeats,
        ),
    ),
    "networks": (
        networks,
        lambda given: networks.benchmark_networks(given.zoo or None, given.rows),
    ),
    "scaling": (scaling, lambda given: scaling.benchmark_scaling(given.repeats)),
    "slim": (
        slim,
        lambda given: slim.benchmark_slim(given.shipped, given.width_multiplier, given.repeats),
    ),
    "verdict": (
        verdict,
        lambda given: verdict.benchmark_verdict(
            given.shipped, given.images, given.norm, given.epsilon
        ),
    ),
    "commands": (commands, lambda given: commands.benchmark_commands(given.repeats)),
}
