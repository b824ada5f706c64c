"""The command `python -m anp_tf.export`."""
