"""Imports TensorFlow without the notes that its start prints; for command lines only."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_stderr = os.dup(sys.stderr.fileno())
_nowhere = os.open(os.devnull, os.O_WRONLY)
try:
    os.dup2(_nowhere, sys.stderr.fileno())
    import tensorflow
finally:
    os.dup2(_stderr, sys.stderr.fileno())
    os.close(_stderr)
    os.close(_nowhere)

__all__ = ["tensorflow"]
