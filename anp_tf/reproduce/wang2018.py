"""Pruning by magnitude in adversarial training: the table of Wang et al. (2018) on MNIST."""

import dataclasses
import pathlib

import keras

from anp_tf import data
from anp_tf.attacks import FGSM, PGD, train_substitute
from anp_tf.layers import mask_layers
from anp_tf.models import substitute_network
from anp_tf.pruning import cost, slim
from anp_tf.reproduce.paper import read
from anp_tf.reproduce.plan import Run, settings_of_run
from anp_tf.robustness import evaluate_robustness, test_examples
from anp_tf.tables import markdown_table
from anp_tf.workdir import Workdir

FGSM_EPSILONS = (0.1, 0.2, 0.3)
SUBSTITUTE_QUERIES = 150  # test images that the substitute starts from, and that are not attacked
COLUMNS = {
    "parameters_pruned_percent": "parameters pruned, %",
    "natural": "natural, %",
    **{f"fgsm_eps{epsilon}": f"FGSM {epsilon}, %" for epsilon in FGSM_EPSILONS},
    "pgd": "PGD, %",
    "papernot_black_box": "black-box, %",
}


def published_rows():
    """Their rows, a list of dicts: training, pruning, and figures in percent as floats."""
    return [
        {
            name: value if name in ("training", "pruning") else float(value)
            for name, value in row.items()
        }
        for row in read("wang2018_table.csv")
    ]


def row_names():
    """The names of the ten rows, such as `pgd_filter_40`."""
    return tuple(
        f"{row['training']}_{row['pruning']}_{row['parameters_pruned_percent']:.0f}"
        for row in published_rows()
    )


def wang2018_runs(folder, settings):
    """The runs of the ten rows: `Run`s in the order of `published_rows`.

    Args:
        folder: The folder of all runs.
        settings: `Settings` of all, but for the method, the attack and what is pruned.
    """
    runs = []
    for name, row in zip(row_names(), published_rows(), strict=True):
        pruned = row["pruning"] != "none"
        chosen = settings_of_run(settings, "magnitude" if pruned else "at", settings.seed, None)
        chosen = dataclasses.replace(chosen, attack=row["training"])
        if pruned:
            share = row["parameters_pruned_percent"] / 100
            chosen = dataclasses.replace(chosen, granularity=row["pruning"], target_sparsity=share)
        runs.append(Run(name, chosen, Workdir(pathlib.Path(folder) / name), None))
    return runs


def wang2018_row(run, network):
    """The figures of a network in their columns, in percent, on the whole test set.

    The black-box attack is FGSM with epsilon 0.3 made on a substitute (Papernot et al. 2017), on
    all test images but those that the substitute was trained from.
    """
    settings = run.settings
    examples = test_examples(settings)
    attacked = slim(network) if mask_layers(network) else network

    def accuracy(attack, examples, source):
        batches = data.batches(examples, 250)
        return evaluate_robustness(network, batches, attack, source, settings.seed)

    attacks = {f"fgsm_eps{epsilon}": FGSM(epsilon=epsilon) for epsilon in FGSM_EPSILONS}
    attacks["pgd"] = PGD(
        epsilon=settings.epsilon,
        step_size=settings.eval_attack_step_size,
        steps=settings.eval_attack_steps,
    )
    measured = {name: accuracy(attack, examples, attacked) for name, attack in attacks.items()}
    keras.utils.set_random_seed(settings.seed)
    queries = min(SUBSTITUTE_QUERIES, len(examples) // 2)
    substitute = substitute_network(examples.image_shape, examples.num_classes)
    pixels, _ = next(iter(data.batches(examples, queries)))
    train_substitute(attacked, pixels, substitute, seed=settings.seed)
    others = examples.skip(queries)
    black_box = accuracy(FGSM(epsilon=FGSM_EPSILONS[-1]), others, substitute)
    left = cost(attacked)
    pruned = 1 - (left.parameters - left.zero_weights) / cost(network).parameters
    return {
        "training": settings.attack,
        "pruning": settings.granularity if settings.method == "magnitude" else "none",
        "parameters_pruned_percent": 100 * pruned,
        "natural": 100 * measured["pgd"].clean_accuracy,
        **{name: 100 * figures.adversarial_accuracy for name, figures in measured.items()},
        "papernot_black_box": 100 * black_box.adversarial_accuracy,
        "black_box_images": len(others),
        "black_box_source": None,
        "test_examples": len(examples),
        "seed": settings.seed,
    }


def wang2018_record(runs):
    """Their figures beside the measured ones, for `table.json`."""
    return {
        "table": "wang2018",
        "rows": [
            {"paper": paper, "measured": run.workdir.load_results() if run.done else None}
            for paper, run in zip(published_rows(), runs, strict=True)
        ],
    }


def wang2018_markdown(record):
    """The table as Markdown, `theirs / measured` in each cell."""
    rows = [
        [
            row["paper"]["training"],
            row["paper"]["pruning"],
            *(_cell(row["paper"], row["measured"], name) for name in COLUMNS),
        ]
        for row in record["rows"]
    ]
    table = markdown_table(["training", "pruning", *COLUMNS.values()], rows, texts=2)
    head = "Each cell: the value of Wang et al. (2018) / the measured one."
    return "\n".join([head, "", *table]) + "\n"


def _cell(paper, measured, name):
    return f"{paper[name]:.1f} / {f'{measured[name]:.1f}' if measured else '-'}"
