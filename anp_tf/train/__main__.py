"""Trains networks, evaluates them, and compares them on the screen."""

from anp_tf import cli
from anp_tf.names import METHODS


def define_flags():
    cli.define_workdir("folder of the run; of several methods, a folder in it for each")
    cli.define(
        "method",
        "anp_vs",
        f"one of {', '.join(METHODS)}; or several, comma separated, which are trained in order, "
        "each from the network that it starts from, if that is among those before",
    )
    cli.define("standard_epochs", None, "epochs of `standard` among several methods", int)
    cli.define("overwrite", False, "train anew where the run has finished or is another one", bool)
    cli.define("export", False, "export the last network, slimmed, to WORKDIR/saved_model", bool)
    cli.define_settings()


if __name__ == "__main__":
    cli.run("anp_tf.train.command", define_flags)
