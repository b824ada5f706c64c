"""Adversarial neural pruning: networks that are robust to adversarial examples, and small."""

__version__ = "0.1.0"
