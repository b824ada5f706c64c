"""What is said where a run ended badly."""

import pytest

from anp_tf.evaluate.hints import hints

GOOD = {
    "method": "anp_vs",
    "sparsity_percent": 60.0,
    "clean_accuracy": 99.0,
    "white_box_accuracy": 90.0,
    "test_examples": 1000,
}


@pytest.mark.parametrize(
    ("changes", "starts"),
    [
        ({}, []),
        ({"sparsity_percent": 0.0}, ["nothing was pruned"]),
        ({"method": "at", "sparsity_percent": 0.0}, []),
        ({"sparsity_percent": 100.0}, ["everything was pruned"]),
        ({"clean_accuracy": 11.0, "white_box_accuracy": 0.0}, ["the accuracy is that of guessing"]),
        ({"white_box_accuracy": 0.0}, ["no image withstands"]),
        ({"method": "bp", "white_box_accuracy": 0.0}, []),
        ({"clean_accuracy": 15.0}, []),
    ],
)
def test_hints(changes, starts):
    found = hints({**GOOD, **changes}, 10)
    assert len(found) == len(starts)
    assert all(text.startswith(start) for text, start in zip(found, starts, strict=True))
