"""Makes the paper's tables, and its sparsity curve, measured; figures of proofs and of cost."""

from anp_tf import cli
from anp_tf.names import FIGURES, PROOFS, TABLES


def define_flags():
    cli.define_workdir("folder of all runs, and of table.md and table.json")
    cli.define("table", None, f"one of {', '.join(TABLES)}")
    cli.define("figure", None, f"one of {', '.join(FIGURES)}, in place of a table")
    cli.define(
        "methods",
        None,
        "rows of the table, comma separated; by default all. Of wang2018: fgsm_weight_96…",
        list,
    )
    cli.define("seeds", 1, "networks per method, with the seeds --seed and up", int)
    cli.define(
        "row",
        [],
        "METHOD FLAG…: options of one row in place of those of all, such as "
        "--row='anp_vs --epochs=60 --init_from=at'; given once for each",
        many=True,
    )
    cli.define(
        "standard_attack",
        0,
        "test images on which each row is judged by the standard attack, too; 0: none",
        int,
    )
    cli.define(
        "networks",
        [],
        "of --figure=proved and proved_sparsity: PATH or NAME=PATH of workdirs and .keras files, "
        "comma separated; of --figure=frontier: of folders with results.json and robustness.json",
        list,
    )
    cli.define("epsilons", ["0.1", "0.2", "0.3"], "of --figure=proved: radii of the balls", list)
    cli.define("attacks", ["pgd"], "of --figure=proved: attacks, as --attack of evaluate", list)
    cli.define("proofs", list(PROOFS[:3]), f"of --figure=proved: some of {', '.join(PROOFS)}", list)
    cli.define(
        "proof_minutes",
        None,
        "of --figure=proved: how long the proofs of a network for one ε may take; without it as "
        "long as they take",
        float,
    )
    cli.define("export", False, "export each row, slimmed, to WORKDIR/saved_model", bool)
    cli.define_settings()


if __name__ == "__main__":
    cli.run("anp_tf.reproduce.command", define_flags)
