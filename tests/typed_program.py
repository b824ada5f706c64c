"""A first program as a type checker sees it; it is checked and not run."""

import pathlib
import typing

import keras
import numpy as np
import tensorflow as tf

import anp_tf

network: keras.Model = anp_tf.load("runs/quickstart/anp_vs")
masked: keras.Model = anp_tf.insert_masks(network)
model = anp_tf.AdversarialNeuralPruningVS(
    masked, num_examples=1000, attack=anp_tf.PGD(epsilon=0.3, step_size=0.01, steps=40)
)
typing.assert_type(anp_tf.mask_summary(masked), None)
typing.assert_type(anp_tf.cost(anp_tf.slim(masked)).flops, int)
typing.assert_type(anp_tf.cost(network).layers[0].name, str)
attack = anp_tf.PGD(epsilon=2, step_size=0.5, steps=10, norm=anp_tf.attacks.L2())
measured = anp_tf.evaluate_robustness(network, tf.data.Dataset.range(1), attack)
typing.assert_type(measured.clean_accuracy, float)
typing.assert_type(anp_tf.export_saved_model(network, pathlib.Path("served")), pathlib.Path)
typing.assert_type(
    anp_tf.prove(network, np.zeros((1, 28, 28, 1)), [3], 0.1, attack=attack), dict[str, typing.Any]
)
result, folder = anp_tf.attack_candidate(
    anp_tf.robustness.from_workdir("runs/quickstart/anp_vs"),
    ["pgd", "square"],
    "attacked",
    anp_tf.robustness.Threat(0.3),
    queries=1000,
)
typing.assert_type(folder, pathlib.Path)

# What is wrong is found: else the type checker says that `ignore` is of no use.
anp_tf.PGD(epsilon="0.3", step_size=0.01, steps=40)  # type: ignore[arg-type]
anp_tf.PGD(epsilon=0.3, step_sise=0.01, steps=40)  # type: ignore[call-arg]
anp_tf.cost(network).flopps  # type: ignore[attr-defined]  # noqa: B018
anp_tf.slam(network)  # type: ignore[attr-defined]
