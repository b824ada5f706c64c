"""Imports TensorFlow without the notes that its start prints; for command lines only."""

import os

from anp_tf.silence import silent_stderr

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with silent_stderr():
    import tensorflow

__all__ = ["tensorflow"]
