"""`python -m anp_tf.evaluate`: a network's results row, or its accuracy under stronger attacks."""
