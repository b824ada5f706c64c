"""Makes a network's results row, or measures its accuracy under stronger attacks."""

from absl import flags

from anp_tf import cli
from anp_tf.names import ATTACKS, NORMS, PROOFS
from anp_tf.options import EVALUATION
from anp_tf.settings import READING, Settings


def define_flags():
    cli.define_workdir("folder of the run whose network is evaluated", exists=True)
    cli.define(
        "model",
        None,
        "in place of a workdir, to be attacked: a .keras, .tflite or .onnx file, or a SavedModel",
        exists=True,
    )
    cli.define(
        "dataset",
        None,
        "of --model: its data set, as for training; of --workdir: where its data are now",
    )
    cli.define("pixels", None, "of --model: what it takes for 0 and 1, such as 0,255 or -1,1", list)
    cli.define("output_name", None, "of --model: name of the logits among several outputs")
    cli.define("binary", False, "of --model: its one output is the logit of class 1", bool)
    cli.define("channels_first", False, "of --model: it takes images [channels, rows, cols]", bool)
    cli.define(
        "straight_through",
        False,
        "what has no gradient before the first weights has the slope of a fitted line",
        bool,
    )
    cli.define(
        "source", None, "workdir or file of a network the black-box attack is made on", exists=True
    )
    cli.define(
        "attack",
        None,
        f"attacks, comma separated, for the worst case over them: {', '.join(ATTACKS)}; "
        "pgd20 is pgd with 20 steps. By default the results row is made",
        list,
    )
    cli.define("checks", False, "look for signs that the robustness is only apparent", bool)
    cli.define(
        "prove", False, "prove what can be proved of each image: intervals, CROWN, branching", bool
    )
    cli.define("proofs", list(PROOFS), f"of --prove: some of {', '.join(PROOFS)}", list)
    cli.define(
        "proof_intermediate",
        "interval",
        "of --prove: CROWN has bounds of hidden features from interval, or from crown, far slower",
    )
    cli.define("proof_minutes", None, "of --prove: how long it may take, spread over images", float)
    cli.define(
        "undefended", None, "of --checks: workdir or file of an undefended network", exists=True
    )
    cli.define("norm", "Linf", f"of --attack and --checks: of the ball, {' or '.join(NORMS)}")
    cli.define("restarts", None, "of --attack: random starts of pgd, apgd, fab-t and latent", int)
    cli.define("queries", None, "of square; by default 5000, in --checks 1000", int)
    cli.define("batch_size", 250, "of --attack and --checks: images at a time", int)
    cli.define("images", None, "of --attack: .npz file for the adversarial images")
    cli.define("part", None, "of --attack: k/n, only the k-th of n parts of the images is attacked")
    cli.define(
        "output",
        None,
        "where the row is written; by default results.json in the workdir, or, if an option of the "
        "run is changed, nowhere. Of --attack and --checks: the folder of robustness.json and "
        "checks.json; by default the workdir, or MODEL.robustness",
    )
    cli.define_settings((*Settings.names(EVALUATION), *READING, "seed", "data_dir"))
    for name in ("epsilon", "eval_attack_step_size"):  # those of an L2 ball may be above 1
        flags.FLAGS[name].field = None
    flags.DEFINE_alias("eps", "epsilon")


if __name__ == "__main__":
    cli.run("anp_tf.evaluate.command", define_flags)
