"""The command `python -m anp_tf.reproduce`."""
