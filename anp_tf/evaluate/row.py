"""The results row of a network, and tables of rows."""

from anp_tf import data
from anp_tf.attacks import PGD
from anp_tf.evaluate.hints import hints
from anp_tf.intervals import with_interval
from anp_tf.layers import bayes_layers, mask_layers
from anp_tf.options import length_text
from anp_tf.progress import silent
from anp_tf.pruning import cost, slim, unit_sparsity
from anp_tf.robustness.accuracy import adversarial_batches, measure_robustness
from anp_tf.robustness.candidate import check_fits
from anp_tf.robustness.sampled import evaluate_sampled
from anp_tf.tables import plain_table
from anp_tf.timing import latencies, latency_names, latency_text
from anp_tf.train.networks import AUTO, dense_like

BATCH_SIZE = 250


def results_row(settings, network, examples, black_box=None, counter=silent):
    """Everything that is reported of a trained network.

    The white-box attack runs on the slimmed network, which computes the same function; accuracy
    and vulnerability are measured on the network itself, pruned features included.

    Args:
        settings: `Settings` of the run, with the attack of the evaluation.
        network: The trained network, masks included.
        examples: `anp_tf.data.Examples`, the test set.
        black_box: Optional, what `black_box_images` returns.
        counter: Function `(title, total) -> context manager of a progress function`.

    Returns:
        Dict with the columns of the paper's tables (shares in percent; None where not measured)
        and what stands behind them.
    """
    attack = evaluation_attack(settings)
    slimmed = slim(network) if mask_layers(network) else network
    batches = data.batches(examples, BATCH_SIZE)

    def measure(title, images):
        with counter(f"{settings.method}  {title}", len(examples)) as progress:
            return measure_robustness(network, batches, images, progress)

    images = adversarial_batches(slimmed, batches, attack, settings.seed)
    white = measure(f"white-box PGD-{attack.steps}", images)
    black = black_box and measure(f"black-box PGD-{attack.steps}", black_box)
    dense = dense_like(network)
    dense_cost, slim_cost = cost(dense), cost(slimmed)
    row = {
        "dataset": settings.dataset,
        "architecture": network.name if settings.network == AUTO else settings.network,
        "method": settings.method,
        "clean_accuracy": 100 * white.clean_accuracy,
        "white_box_accuracy": 100 * white.adversarial_accuracy,
        "black_box_accuracy": 100 * black.adversarial_accuracy if black else None,
        "white_box_vulnerability": white.vulnerability,
        "black_box_vulnerability": black.vulnerability if black else None,
        "memory_percent": 100 * slim_cost.memory / dense_cost.memory,
        "flops_reduction": dense_cost.flops / slim_cost.flops,
        "sparsity_percent": unit_sparsity(network),
        "weight_sparsity_percent": 100 * (1 - _weights_left(slim_cost) / dense_cost.kernel_weights),
        "dense_parameter_bytes": dense_cost.parameter_bytes,
        "slim_parameter_bytes": slim_cost.parameter_bytes,
        "dense_flops": dense_cost.flops,
        "slim_flops": slim_cost.flops,
        "latency_milliseconds": {
            str(size): latencies({"dense": dense, "slim": slimmed}, size) for size in (1, 256)
        },
        **_sampled_figures(settings, network, examples, attack, counter),
        "black_box_source": None,
        "attack": f"PGD-{attack.steps}",
        "epsilon": attack.epsilon,
        "step_size": attack.step_size,
        "test_examples": white.examples,
        "seed": settings.seed,
    }
    return {**row, "hints": hints(row, examples.num_classes)}


def evaluation_attack(settings):
    """The attack of the evaluation, a `PGD`."""
    return PGD(
        epsilon=settings.epsilon,
        step_size=settings.eval_attack_step_size,
        steps=settings.eval_attack_steps,
    )


def black_box_images(settings, source, examples, counter=silent):
    """The test images after the attack of the evaluation on another network, for `results_row`.

    Args:
        settings, examples, counter: As in `results_row`.
        source: Functional `keras.Model` from pixels to logits, trained independently.

    Returns:
        List of float tensors, the images in batches.

    Raises:
        ValueError: if the source takes other images or knows other classes.
    """
    check_fits("the source of the attack", source, examples)
    attack = evaluation_attack(settings)
    batches = data.batches(examples, BATCH_SIZE)
    with counter(f"images of black-box PGD-{attack.steps}", len(examples)) as progress:
        return list(adversarial_batches(source, batches, attack, settings.seed, progress))


def _weights_left(network_cost):
    return network_cost.kernel_weights - network_cost.zero_weights


def _sampled_figures(settings, network, examples, attack, counter):
    """The accuracies when random weights are drawn, for the attack as well; {} without such."""
    if not bayes_layers(network):
        return {}
    samples = settings.eval_samples
    arguments = (network, data.batches(examples, BATCH_SIZE), attack, samples, settings.seed)
    title = f"{settings.method}  white-box PGD-{attack.steps}, {samples} draws"
    with counter(title, len(examples)) as progress:
        sampled = evaluate_sampled(*arguments, progress=progress)
    return {
        "sampled_clean_accuracy": 100 * sampled.clean_accuracy,
        "sampled_white_box_accuracy": 100 * sampled.adversarial_accuracy,
        "sampled_draws": samples,
    }


def keep_black_box(row, old):
    """Takes over the black-box figures that were measured before under the same attack."""
    if all(
        old.get(name) == row[name] for name in ("attack", "epsilon", "step_size", "test_examples")
    ):
        row.update({name: value for name, value in old.items() if name.startswith("black_box")})


def comparison(rows):
    """A table of several rows beside one another, as text; `a → b` is dense and slimmed.

    Of a latency there is the median with half the distance of its quartiles, and one figure alone
    where nothing was pruned or where both are the same within this spread.
    """
    first = rows[0]
    attack = f"{first['attack']}, ε = {length_text(first['epsilon'])}"
    title = f"{first['dataset']}, {first['test_examples']:,} test images"
    figures = {
        "clean accuracy, %": lambda row: _share(row, "clean_accuracy"),
        f"accuracy under {attack}, %": lambda row: _share(row, "white_box_accuracy"),
        "accuracy, weights drawn, %": lambda row: _share(row, "sampled_white_box_accuracy"),
        f"black-box {first['attack']}, %": lambda row: _share(row, "black_box_accuracy"),
        "vulnerability": lambda row: _number(row, "white_box_vulnerability", "{:.4f}"),
        "black-box vulnerability": lambda row: _number(row, "black_box_vulnerability", "{:.4f}"),
        "sparsity (units pruned), %": lambda row: f"{row['sparsity_percent']:.1f}",
        "FLOPs reduction, x": lambda row: f"{row['flops_reduction']:.2f}",
        "memory, %": lambda row: f"{row['memory_percent']:.2f}",
        "parameter bytes": _bytes,
    }
    for size in ("1", "256"):
        figures[f"latency, batch {size}, ms"] = lambda row, size=size: _latency(row, size)
    lines = [(label, *map(figure, rows)) for label, figure in figures.items()]
    lines = [line for line in lines if set(line[1:]) != {"-"}]
    columns = ["", *(row["method"] for row in rows)]
    return plain_table(title, columns, lines, 50 + 34 * len(rows))


def said_hints(rows):
    """The hints of the rows as lines, `METHOD: HINT`."""
    return [f"{row['method']}: {hint}" for row in rows for hint in row.get("hints", ())]


def _bytes(row):
    dense, slimmed = row["dense_parameter_bytes"], row["slim_parameter_bytes"]
    if row["sparsity_percent"] == 0:
        return f"{dense:,}"
    return f"{dense:,} → {slimmed:,}"


def _latency(row, size):
    times = row["latency_milliseconds"][size]
    return " → ".join(latency_text(times, name) for name in latency_names(row, size))


def _share(row, name):
    value = row.get(name)
    return "-" if value is None else with_interval(value, row["test_examples"])


def _number(row, name, form):
    return "-" if row.get(name) is None else form.format(row[name])
