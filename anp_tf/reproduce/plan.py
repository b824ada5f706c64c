"""The runs that a table takes, in the order in which they are made."""

import dataclasses
import pathlib

from anp_tf.methods import METHODS
from anp_tf.settings import Settings, unread
from anp_tf.workdir import Workdir

BLACK_BOX_SOURCE_SEED = 1_000_003  # of the black-box source, which no row shares


@dataclasses.dataclass(frozen=True)
class Run:
    """A network to be trained and evaluated.

    Attributes:
        name: Its folder among the runs.
        settings: `Settings`.
        workdir: `Workdir`.
        source: `Workdir` of the black-box source; None for the source itself.
        row: Whether it is a row of the table, or only needed by one.
    """

    name: str
    settings: Settings
    workdir: Workdir
    source: Workdir | None
    row: bool = True

    @property
    def trained(self):
        """Whether there is a trained network."""
        return self.workdir.network.exists()

    @property
    def done(self):
        """Whether nothing is left to do: it is trained and, if it is a row, evaluated."""
        if not self.trained or not self.row:
            return self.trained
        if not self.workdir.results.exists():
            return False
        return self.source is None or (
            self.workdir.load_results()["black_box_source"] == str(self.source.path)
        )

    def seconds(self):
        """The time its epochs took so far."""
        return sum(record["seconds"] for record in self.workdir.epochs())


def table_runs(folder, settings, methods, seeds, standard_epochs=None):
    """The runs of a table of methods.

    The networks that others start from come before them, the black-box source before all rows that
    it attacks: an adversarially trained network with a seed of its own. `beta` is for the methods
    that prune under attack; the others have their defaults.

    Args:
        folder: The folder of all runs, `SEED/METHOD` in it for each.
        settings: `Settings` of all runs, but for the method, the seed and what it starts from.
        methods: Sequence of methods, the rows.
        seeds: Integer, at least 1: networks per method, with the seeds `settings.seed` and up.
        standard_epochs: Integer, epochs of `standard`; None: `settings.epochs`.

    Returns:
        List of `Run`.
    """
    folder = pathlib.Path(folder)
    source = Workdir(folder / "source")
    of_source = settings_of_run(settings, "at", settings.seed + BLACK_BOX_SOURCE_SEED, None)
    runs = [Run("source", of_source, source, None, row=False)]
    for seed in range(settings.seed, settings.seed + seeds):
        at = folder / f"seed{seed}"
        for method in with_starts(methods):
            runs.append(
                Run(
                    f"seed{seed}/{method}",
                    settings_of_run(settings, method, seed, at, standard_epochs),
                    Workdir(at / method),
                    source,
                    row=method in methods,
                )
            )
    return runs


def settings_of_run(settings, method, seed, folder, standard_epochs=None):
    """The settings of one run, which starts from another one's network in the folder if it must.

    What the method does not read has its default, so that a row need not be made again because an
    option of another one has changed.
    """
    kind = METHODS[method]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    changes = {name: defaults[name] for name in unread(kind)}
    changes |= {"method": method, "seed": seed}
    if not (kind.uses_attack and kind.learns_masks):
        changes["beta"] = kind.default_beta
    if method == "standard" and standard_epochs:
        changes["epochs"] = standard_epochs
    if kind.starts_from and folder and not settings.init_from:
        changes["init_from"] = str(pathlib.Path(folder) / kind.starts_from)
    return dataclasses.replace(settings, **changes)


def with_starts(methods):
    """The methods, and before each the one it starts from, if it is not among those before."""
    ordered = []
    for method in methods:
        for needed in (METHODS[method].starts_from, method):
            if needed and needed not in ordered:
                ordered.append(needed)
    return ordered
