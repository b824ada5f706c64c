"""The configuration of a run, `config.cfg`: what it was asked for, and what it uses."""

import dataclasses
import itertools
import logging
import os
import pathlib

from anp_tf.errors import OtherRunError, WorkdirError
from anp_tf.files import atomic_file, read_json
from anp_tf.options import exact_text
from anp_tf.settings import Settings

HEADER = "# Written by the run. The same run again:"
ASKED = "# asked for: --"
log = logging.getLogger(__name__)
PATHS = [field.name for field in dataclasses.fields(Settings) if field.metadata["path"]]


@dataclasses.dataclass(frozen=True)
class Start:
    """What a run comes to in a workdir.

    Attributes:
        settings: The `Settings` that are used: those asked for, but for what `Workdir.use` put in
            place of them before.
        written: The `Settings` that are written down.
        asked: Dict of the options that were asked for where others are used.
        removes: What is removed first: `"run"`, `"network"`, or `""` for nothing.
        goes_on: Boolean, whether the run was begun before, and stays.
        finished: Boolean, whether its network is there, and stays.
    """

    settings: Settings
    written: Settings
    asked: dict
    removes: str = ""
    goes_on: bool = False
    finished: bool = False


class RunConfig:
    """Reads and writes the configuration of a run.

    Args:
        folder: `pathlib.Path` of the workdir, as the user names it.
        path: Of the configuration.
        origin: Of `run.json`, which says what data the run began with.
    """

    def __init__(self, folder, path, origin):
        self._folder, self._path, self._origin = folder, path, origin

    def write(self, settings, asked):
        """Writes down what is used, and of what was asked for otherwise, a dict, both."""
        self._keep_given()
        lines = [
            HEADER,
            f"# python -m anp_tf.train --flagfile={self._path}",
            *(f"{ASKED}{name}={value}" for name, value in asked.items()),
            f"--workdir={self._folder}",
            *settings.flag_lines(),
        ]
        with atomic_file(self._path) as temporary:
            temporary.write_text("\n".join(lines) + "\n")

    def _keep_given(self):
        """Moves a configuration that no run has written out of the way, such as a flagfile."""
        if self._path.exists() and not self._is_of_a_run():
            numbers = itertools.chain([""], (f"_{n}" for n in itertools.count(2)))
            places = (self._path.with_name(f"given{n}.{self._path.name}") for n in numbers)
            given = next(place for place in places if not place.exists())
            self._path.replace(given)
            log.warning("%s is in %s now: a run writes a file of this name", self._path, given)

    def _is_of_a_run(self):
        if not self._path.exists():
            return False
        return self._path.read_text(errors="replace").startswith(HEADER)

    def asked(self):
        """Dict of the options that were asked for, where others are used."""
        lines = self._path.read_text().splitlines()
        return Settings.values_of(
            f"--{line.removeprefix(ASKED)}" for line in lines if line.startswith(ASKED)
        )

    def start(self, settings, overwrite, network, resumable, replaced):
        """As of `Workdir`, with the path of its network, and whether it has checkpoints.

        `replaced` are the paths of what else a run writes anew.
        """
        if not (network.exists() or resumable):
            foreign = [path.name for path in replaced if path.exists()]
            if foreign and not overwrite and not self._is_of_a_run():
                raise OtherRunError(
                    f"workdir {self._folder} has {foreign[0]} and no {self._path.name} of a run, "
                    f"which would replace {foreign[0]}; give another workdir, or overwrite it"
                )
            return Start(settings, settings, {})
        if not self._path.exists():
            if overwrite:
                return self._anew(settings, network)
            raise OtherRunError(
                f"workdir {self._folder} has a network or checkpoints and no {self._path.name}, so "
                "that no run can go on there; give another workdir, or overwrite it"
            )
        found, asked = self.settings(), self.asked()
        differing = self.differing(found, asked, settings)
        finished = network.exists()
        if overwrite and (differing or finished):
            return self._anew(settings, network)
        longer = differing == ["epochs"] and settings.epochs > found.epochs
        if longer and not resumable:
            raise OtherRunError(
                f"workdir {self._folder} has no checkpoint from which its {found.epochs} epochs "
                f"could go on to {settings.epochs}; give another workdir, or overwrite it"
            )
        if differing and not longer:
            shown = (
                f"{name}={exact_text(getattr(found, name))} "
                f"(now {exact_text(getattr(settings, name))})"
                for name in differing
            )
            moved = "dataset" in differing and is_gone(found.dataset)
            hint = "; a data set may be moved, but has to keep its name" if moved else ""
            raise OtherRunError(
                f"workdir {self._folder} is of another configuration: {', '.join(shown)}; give "
                f"another workdir, or overwrite it{hint}"
            )
        used = dataclasses.replace(settings, **{name: getattr(found, name) for name in asked})
        # The new place of data that was moved is written down by `use`, once it was compared.
        finished = finished and not longer
        kept = {} if finished else {"dataset": found.dataset}
        return Start(
            used,
            dataclasses.replace(used, **kept),
            asked,
            removes="network" if longer else "",
            goes_on=True,
            finished=finished,
        )

    def _anew(self, settings, network):
        """The `Start` of a run that removes the one before it."""
        own = {self._folder.resolve(), network.resolve()}
        for name in ("network", "init_from", "teacher"):
            source = getattr(settings, name)
            if source and pathlib.Path(source).resolve() in own:
                raise WorkdirError(
                    f"{name}: {source} is in workdir {self._folder}, which is to be overwritten"
                )
        return Start(settings, settings, {}, removes="run")

    def differing(self, found, asked, settings):
        """The names of the options that are not those of the run."""
        return [
            name
            for name, now in settings.of_the_run().items()
            if not self._same(name, getattr(found, name), now)
            and (name not in asked or asked[name] != now)
        ]

    def _same(self, name, found, now):
        """Whether an option is what it was, or, of a path, names the same place.

        That is also a place that was moved together with the folder, and of the data one of the
        same name where the recorded one is gone: `anp_tf.run_data` compares what is in it.
        """
        if found == now or name not in PATHS or None in (found, now):
            return found == now
        if os.path.realpath(now) in map(os.path.realpath, (found, self._moved(found))):
            return True
        if name != "dataset" or not is_gone(found) or not os.path.exists(now):
            return False
        is_known = "data" in (read_json(self._origin) or {})
        return is_known and pathlib.Path(found).name == pathlib.Path(now).name

    def _moved(self, place):
        """Where a place is that is on the same way from the folder as when it was recorded."""
        lines = self._path.read_text().splitlines()
        recorded = [x.removeprefix("--workdir=") for x in lines if x.startswith("--workdir=")]
        way = os.path.relpath(place, recorded[0] if recorded else self._folder)
        return os.path.normpath(self._folder / way)

    def check_one_run(self, name):
        """As of `Workdir`."""
        runs = sorted(str(path.parent) for path in self._folder.glob("*/config.cfg"))
        if runs and not self._path.exists():
            raise WorkdirError(
                f"{name}: expected the folder of one run, received {self._folder}, which holds "
                f"several: {', '.join(runs)}"
            )

    def settings(self):
        """The `Settings` the run was started with.

        Raises:
            WorkdirError: if there is no readable configuration; one of several runs names them.
        """
        self.check_one_run("workdir")
        try:
            lines = self._path.read_text().splitlines()
            values = Settings.values_of(x for x in lines if not x.startswith("--workdir="))
            if "dataset" not in values:
                raise ValueError("expected the options of a run, received no line --dataset=")
            found = Settings(**values)
            return dataclasses.replace(found, dataset=self._place_of(found.dataset))
        except (OSError, ValueError) as error:
            reason = f"cannot read {self._path.name}: {error}"
            raise WorkdirError(f"{self._folder} is not the workdir of a run: {reason}") from error

    def _place_of(self, dataset):
        """The data set where it is now, if its place was moved together with the folder."""
        moved = self._moved(dataset)
        return moved if os.path.exists(moved) and is_gone(dataset) else dataset


def is_gone(dataset):
    """Whether a data set is named by a place where there is nothing now."""
    if os.path.exists(dataset):
        return False
    from anp_tf.data.tfds_sets import known  # takes seconds

    return not known(dataset)
