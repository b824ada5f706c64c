"""The runs that a table takes, in the order in which they are made."""

import dataclasses
import pathlib
import shlex

from anp_tf.methods import METHODS
from anp_tf.options import EVALUATION, one_of
from anp_tf.robustness import digest, robustness_of
from anp_tf.settings import Settings, unread
from anp_tf.workdir import Workdir

OF_OTHERS = ("init_from", "teacher")  # options that may name another row
# Options that a table says once, for all of its rows, which are judged alike.
OF_ALL = ("dataset", "network", "width_multiplier", "seed", *Settings.names(EVALUATION))
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
        if self.source is None:
            return True
        results, of_source = self.workdir.load_results(), self.black_box_source()
        # Results of earlier versions have no digest.
        return {**of_source, **results}.items() >= of_source.items()

    def black_box_source(self):
        """The items of the results that say which network the black-box images are made on."""
        path, network = str(self.source.path), self.source.network
        known = {"black_box_source_sha256": digest(network)} if network.exists() else {}
        return {"black_box_source": path, **known}

    def standard_attack(self):
        """The result of the standard attack in `robustness.json`, on the row's ball; None if none.

        Raises:
            EvaluationError: if the file is damaged.
        """
        found = robustness_of(self.workdir.robustness, digest(self.workdir.network))
        return found.get(f"standard, Linf, {self.settings.epsilon:g}")

    def seconds(self):
        """The time its epochs took so far."""
        return sum(record["seconds"] for record in self.workdir.epochs())


def read_rows(texts):
    """The options that rows have of their own.

    Args:
        texts: Sequence of strings, `METHOD FLAG…`; `source` stands for the black-box source.

    Returns:
        Dict from a method, or `"source"`, to a dict from an option of `Settings` to its value.

    Raises:
        ValueError: if a text is not of this form, or has an option that all rows must share.
    """
    rows = {}
    for text in texts:
        method, _, lines = text.strip().partition(" ")
        one_of("row", method, (*METHODS, "source"))
        try:
            own = Settings.values_of(shlex.split(lines))
            if "method" in own:
                raise ValueError("expected the method as the first word alone")
            for name in OF_ALL:
                if name in own and method != "source":
                    raise ValueError(f"expected --{name} for all rows, outside of --row")
            rows.setdefault(method, {}).update(own)
        except ValueError as error:
            raise ValueError(f"row: {text}: {error}") from error
    return rows


def table_runs(folder, settings, methods, seeds, rows=None):
    """The runs of a table of methods.

    The networks that others start from come before them, the black-box source before all rows that
    it attacks: an adversarially trained network with a seed of its own. `beta` is for the methods
    that prune under attack; the others have their defaults. A row's own `init_from` or `teacher`
    may be another method: its network of the same seed.

    Args:
        folder: The folder of all runs, `SEED/METHOD` in it for each.
        settings: `Settings` of all runs, but for the method, the seed and what it starts from.
        methods: Sequence of methods, the rows.
        seeds: Integer, at least 1: networks per method, with the seeds `settings.seed` and up.
        rows: Dict from a method to its own options, as of `read_rows`.

    Returns:
        List of `Run`.
    """
    folder, rows = pathlib.Path(folder), rows or {}
    source = Workdir(folder / "source")
    seed = settings.seed + BLACK_BOX_SOURCE_SEED
    of_source = settings_of_run(settings, "at", seed, None, rows.get("source"))
    runs = [Run("source", of_source, source, None, row=False)]
    for seed in range(settings.seed, settings.seed + seeds):
        at = folder / f"seed{seed}"
        for method in with_starts(methods, rows):
            runs.append(
                Run(
                    f"seed{seed}/{method}",
                    settings_of_run(settings, method, seed, at, rows.get(method)),
                    Workdir(at / method),
                    source,
                    row=method in methods,
                )
            )
    return runs


def settings_of_run(settings, method, seed, folder, own=None):
    """The settings of one run, which starts from another one's network in the folder if it must.

    What the method does not read has its default, so that a row need not be made again because an
    option of another one has changed.

    Raises:
        ValueError: if the network of a method is asked for where there is none, by an option of all
            runs or of the source.
    """
    kind = METHODS[method]
    defaults = {field.name: field.default for field in dataclasses.fields(Settings)}
    changes = {name: defaults[name] for name in unread(kind)}
    changes |= {"method": method, "seed": seed}
    if not (kind.uses_attack and kind.learns_masks):
        changes["beta"] = kind.default_beta
    changes |= own or {}
    start = changes.get("init_from") or settings.init_from or (folder and kind.starts_from)
    changes |= {"init_from": start, "teacher": changes.get("teacher") or settings.teacher}
    for name in OF_OTHERS:
        other = changes[name]
        if other not in METHODS:
            continue
        if not folder or getattr(settings, name) == other:
            raise ValueError(
                f"{name}: expected a path, or --row='METHOD --{name}={other}', received {other}"
            )
        changes[name] = str(pathlib.Path(folder) / other)
    return dataclasses.replace(settings, **changes)


def with_starts(methods, rows=None):
    """The methods, and before each those it needs the networks of, if not among those before.

    Raises:
        ValueError: if a method needs its own network.
    """
    ordered = []

    def add(method, *needing):
        if method in needing:
            way = " from ".join((method, *needing)[::-1])
            raise ValueError(f"row: expected methods that need others before them, received {way}")
        own = {"init_from": METHODS[method].starts_from} | (rows or {}).get(method, {})
        for other in (own.get(name) for name in OF_OTHERS):
            if other in METHODS:
                add(other, method, *needing)
        if method not in ordered:
            ordered.append(method)

    for method in methods:
        add(method)
    return ordered
