"""What the command does once its flags are parsed."""

from absl import flags

from anp_tf import cli
from anp_tf.export.release import ReleaseForm, add_micro, release, say_exported
from anp_tf.export.written_card import renew_card
from anp_tf.files import check_folder
from anp_tf.silence import silent_stderr
from anp_tf.workdir import Workdir

OF_RUNS = (
    "workdir",
    "output",
    "version",
    "precision",
    "name",
    "warmup_images",
    "litert_examples",
)


def main():
    given = flags.FLAGS
    with silent_stderr():  # of notes by LiteRT and its converter
        paths = _released(given) if given.model is None else _again(given)
    say_exported(paths)


def _released(given):
    workdir = Workdir(cli.workdir())
    form = ReleaseForm(
        format=tuple(given.format),
        precision=tuple(given.precision),
        name=given.name,
        warmup_images=given.warmup_images,
        litert_examples=given.litert_examples,
        data_dir=given.data_dir,
    )
    directory = given.output or workdir.path / "saved_model"
    check_folder("output", directory)
    return release(workdir, directory, given.version, form)


def _again(given):
    for name in (*OF_RUNS, *(["data_dir"] if given.format == ["card"] else [])):
        if given[name].present:
            raise ValueError(
                f"{name}: expected in the export of a run, received together with "
                f"--model={given.model} and --format={','.join(given.format)}"
            )
    if given.format == ["card"]:
        print(renew_card(given.model))
        return []
    if given.format != ["micro"]:
        raise ValueError(
            "--model goes with --format=micro or --format=card, received "
            f"--format={','.join(given.format)}"
        )
    return add_micro(given.model, given.data_dir)
