"""`python -m anp_tf.export`: a slimmed network for TensorFlow Serving, LiteRT or ONNX Runtime."""

from absl import flags

from anp_tf import cli
from anp_tf.release import FORMATS, Form, add_micro, release
from anp_tf.serving import PRECISIONS
from anp_tf.workdir import Workdir


def define_flags():
    cli.define_workdir("folder of the run whose network is exported")
    cli.define("model", None, "folder of an exported network, instead of a run, for --format=micro")
    cli.define("output", None, "folder of the versions; by default saved_model in the workdir")
    cli.define("version", None, "an integer; by default the next one", int)
    cli.define("format", "saved_model", f"some of {', '.join(FORMATS)}, comma separated", list)
    cli.define("precision", "float32", f"of LiteRT files: some of {', '.join(PRECISIONS)}", list)
    cli.define("name", None, "the model's name on a server; by default DATASET_METHOD")
    cli.define("warmup_images", Form.warmup_images, "test images of the warm-up requests", int)
    cli.define(
        "litert_examples", Form.litert_examples, "test images LiteRT files are measured on", int
    )
    cli.define_settings(["data_dir"])


def main():
    given = flags.FLAGS
    cli.say_exported(_released(given) if given.model is None else _again(given))


def _released(given):
    workdir = Workdir(cli.workdir())
    form = Form(
        format=tuple(given.format),
        precision=tuple(given.precision),
        name=given.name,
        warmup_images=given.warmup_images,
        litert_examples=given.litert_examples,
        data_dir=given.data_dir,
    )
    directory = given.output or workdir.path / "saved_model"
    return release(workdir, directory, given.version, form)


def _again(given):
    if given.format != ["micro"]:
        raise ValueError(
            f"--model goes with --format=micro, received --format={','.join(given.format)}"
        )
    return add_micro(given.model, given.data_dir)


if __name__ == "__main__":
    cli.run(main, define_flags)
