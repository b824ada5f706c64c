"""Exports a slimmed network for TensorFlow Serving, LiteRT, ONNX Runtime or a microcontroller."""

from anp_tf import cli
from anp_tf.names import FORMATS, PRECISIONS


def define_flags():
    cli.define_workdir("folder of the run whose network is exported", exists=True)
    cli.define(
        "model",
        None,
        "folder of an exported network, instead of a run, for --format=micro, or --format=card: "
        "its README.md says what robustness.json and checks.json beside it and in it say",
        exists=True,
    )
    cli.define("output", None, "folder of the versions; by default saved_model in the workdir")
    cli.define("version", None, "an integer; by default the next one", int)
    cli.define("format", "saved_model", f"some of {', '.join(FORMATS)}, comma separated", list)
    cli.define("precision", "float32", f"of LiteRT files: some of {', '.join(PRECISIONS)}", list)
    cli.define("name", None, "the model's name on a server; by default DATASET_METHOD")
    cli.define("warmup_images", 8, "test images of the warm-up requests", int)
    cli.define("litert_examples", 1000, "test images LiteRT files are measured on", int)
    cli.define_settings(["data_dir"])


if __name__ == "__main__":
    cli.run("anp_tf.export.command", define_flags)
