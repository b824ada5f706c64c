"""The paper's settings and numbers (Madaan et al. 2020, tables 1 and 2 and appendix)."""

import csv
import importlib.resources

PAPER_EPOCHS = 200
TRAINING_IMAGES = {"mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
# The settings of each table; what all of them share are the defaults of `Settings`.
SETTINGS = {
    "mnist": {
        "dataset": "mnist",
        "network": "lenet5_caffe",
        "beta": 4.0,
        "vulnerability_weight": 1e-3,
        "initial_a": -1.0,
        "decay_at": (0.5, 0.7),
        "epsilon": 0.3,
        "attack_steps": 20,
        "attack_step_size": 0.01,
        "eval_attack_step_size": 0.01,
        "epsilon_warmup_epochs": 10.0,
        "kl_warmup_epochs": 10.0,
        "trades_beta": 1.0,
        "prior_scale": 1.0,
        "initial_rho": -3.0,
        "target_sparsity": 0.8,
    }
}
SETTINGS["cifar10"] = {
    "dataset": "cifar10",
    "network": "vgg16",
    "beta": 2.0,
    "vulnerability_weight": 1e-4,
    "initial_a": 2.0,
    "decay_at": (0.5, 0.8),
    "epsilon": 0.03,
    "attack_steps": 10,
    "attack_step_size": 0.007,
    "eval_attack_step_size": 0.007,
    "epsilon_warmup_epochs": 0.0,
    "kl_warmup_epochs": 10.0,
    "trades_beta": 6.0,
    "prior_scale": 0.1,
    "initial_rho": -5.0,
    "target_sparsity": 0.75,
}
SETTINGS["cifar100"] = {
    **SETTINGS["cifar10"],
    "dataset": "cifar100",
    "beta": 1.0,
    "vulnerability_weight": 0.1,
    "target_sparsity": 0.65,
}
METHODS = (
    "standard",
    "bp",
    "at",
    "at_bnn",
    "pretrained_at",
    "admm",
    "trades",
    "at_vs",
    "anp",
    "anp_vs",
)


def paper_rows(table):
    """The paper's numbers of a table.

    Args:
        table: `"mnist"`, `"cifar10"` or `"cifar100"`.

    Returns:
        Dict from the method to a dict from the column to a float, without those the paper leaves
        out.
    """
    return {
        row["method"]: {
            name: float(value)
            for name, value in row.items()
            if value and name not in ("dataset", "architecture", "method")
        }
        for row in read("paper_tables.csv")
        if row["dataset"] == table
    }


def read(name):
    """The rows of a packaged table, a list of dicts of strings."""
    text = importlib.resources.files(__package__).joinpath(name).read_text()
    return list(csv.DictReader(text.splitlines()))
