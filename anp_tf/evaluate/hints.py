"""What to try where a run ended badly."""

from anp_tf.intervals import clopper_pearson
from anp_tf.methods import METHODS

ALL, NONE = 99.9, 0.05  # percent of the units from which, and up to which, all or none are pruned


def hints(row, num_classes):
    """A sentence for each thing that went wrong in a run.

    Args:
        row: Dict, a results row.
        num_classes: Integer.

    Returns:
        List of strings; empty where nothing did.
    """
    method, found = METHODS[row["method"]], []
    if method.learns_masks and row["sparsity_percent"] <= NONE:
        found.append(
            "nothing was pruned: more epochs, a larger beta or a larger mask_learning_rate prune "
            "more"
        )
    if row["sparsity_percent"] >= ALL:
        found.append(
            "everything was pruned: a smaller beta or mask_learning_rate, or more "
            "kl_warmup_epochs, prune less"
        )
    right = round(row["clean_accuracy"] * row["test_examples"] / 100)
    if clopper_pearson(right, row["test_examples"])[0] <= 1 / num_classes:
        found.append(
            f"the accuracy is that of guessing among {num_classes} classes: a lower learning_rate, "
            "a smaller epsilon or more epsilon_warmup_epochs may help"
        )
    elif method.uses_attack and row["white_box_accuracy"] == 0:
        found.append(
            "no image withstands the attack: more epochs, more attack_steps or a smaller epsilon "
            "may help"
        )
    return found
