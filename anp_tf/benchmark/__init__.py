"""The command `python -m anp_tf.benchmark`."""
