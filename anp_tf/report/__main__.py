"""Makes one self-contained page on trained networks, with figures."""

from anp_tf import cli


def define_flags():
    cli.define_workdir("folders of finished runs of one data set, comma separated")
    cli.define("output", "report", "folder of report.html and figures/, or the path of the page")
    cli.define("examples", 1000, "test images that the figures are of", int)
    cli.define("sparsity", None, "the sparsity.json that reproduce --figure=sparsity wrote")
    cli.define_settings(["data_dir"])


if __name__ == "__main__":
    cli.run("anp_tf.report.command", define_flags)
