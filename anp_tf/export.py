"""`python -m anp_tf.export`: a slimmed network as a SavedModel for TensorFlow Serving."""

from absl import flags

from anp_tf import cli
from anp_tf.release import release
from anp_tf.workdir import Workdir


def define_flags():
    cli.define_workdir("folder of the run whose network is exported")
    cli.define("output", None, "folder of the versions; by default saved_model in the workdir")
    cli.define("version", None, "an integer; by default the next one", int)


def main():
    given = flags.FLAGS
    workdir = Workdir(cli.workdir())
    path = release(workdir, given.output or workdir.path / "saved_model", given.version)
    cli.say_exported(path)


if __name__ == "__main__":
    cli.run(main, define_flags)
