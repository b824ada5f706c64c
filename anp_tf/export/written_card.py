"""The model card of an earlier release, and what is changed in it."""

import pathlib
import re
import shlex

from anp_tf.bounds.certificate import KEYS
from anp_tf.errors import WorkdirError
from anp_tf.export.card import micro_lines, verdict_lines
from anp_tf.files import atomic_file, read_json
from anp_tf.robustness import digest, robustness_lines
from anp_tf.settings import READING, Settings

CARD = "README.md"
TABLE_START = "| file |"
OF_FILE = "Of the file "
# How the lines on verdicts begin, and those that come after them, and after those on files.
VERDICT_STARTS = ("Worst case over ", OF_FILE, "Checks of the evaluation ", "Proved (`--prove`)")
AFTER_VERDICTS_STARTS = ("The network before slimming", "Trained by")
AFTER_FILES_STARTS = ("Threat model: ", "It was not evaluated", *AFTER_VERDICTS_STARTS)
NETWORK = re.compile(r"^The network before slimming.*, SHA-256 ([0-9a-f]{64})", re.MULTILINE)
COMMAND = re.compile(r"^Trained by\n\n```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
SHOWN = {  # keys of the verdicts that a card shows
    "robustness.json": {
        "each": ("attack", "test_examples", "norm", "epsilon", "clean_accuracy", "attacks")
    },
    "checks.json": {"keys": ("test_examples", "checks")},
    "certificate.json": {"keys": KEYS},
}


def is_card(path):
    """Whether a file is the card of a release."""
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except (OSError, ValueError):
        return False
    return all(any(map(_starts(start), lines)) for start in (TABLE_START, AFTER_VERDICTS_STARTS))


def card_lines(directory):
    """The lines of the card of a release.

    Args:
        directory: Folder of a release: of versions and `README.md`.

    Raises:
        WorkdirError: if there is no card of a release.
    """
    path = pathlib.Path(directory) / CARD
    if not is_card(path):
        raise WorkdirError(f"{directory} has no {CARD} of a network that was exported")
    return path.read_text().splitlines()


def data_settings(directory, data_dir=None):
    """`Settings` of a release's data set and how it is read, from the command in the card.

    Args:
        directory: Folder of a release.
        data_dir: Directory of TFDS data sets; None: TFDS's default.

    Raises:
        WorkdirError: if the card has no such command.
    """
    found = COMMAND.search("\n".join(card_lines(directory)))
    starts = tuple(f"--{name}=" for name in ("dataset", *READING))
    try:
        words = shlex.split(found[1].replace("\\\n", "")) if found else []
        values = Settings.values_of(filter(_starts(starts), words))
        if "dataset" not in values:
            raise ValueError("it has no command with --dataset")
        return Settings(**values, data_dir=data_dir)
    except ValueError as error:
        path = pathlib.Path(directory) / CARD
        raise WorkdirError(f"{path} does not say what data the network is of: {error}") from error


def network_of(directory):
    """The digest of the run's network that a release is of, or None if there is no card of it."""
    path = pathlib.Path(directory) / CARD
    found = NETWORK.search(path.read_text()) if is_card(path) else None
    return found and found[1]


def lines_on_files(directory, version):
    """What the card of a release says of the files of a version that are there.

    Args:
        directory: Folder of a release, which need not exist.
        version: Integer.

    Returns:
        Two lists of lines of Markdown: rows of the table, and what is below it.
    """
    directory = pathlib.Path(directory)
    if not is_card(directory / CARD):
        return [], []
    lines = card_lines(directory)
    start = next(i for i, line in enumerate(lines) if line.startswith(TABLE_START))
    end = next(i for i, line in enumerate(lines) if line.startswith(AFTER_FILES_STARTS))
    named = re.compile(rf"`({version}(?:\.[^`]+)?)`")

    def on_files(text):
        return any((directory / name).exists() for name in named.findall(text))

    table, *below = "\n".join(lines[start:end]).split("\n\n")
    rows = [line for line in table.splitlines() if on_files(line)]
    return rows, [line for text in below if on_files(text) for line in (*text.splitlines(), "")]


def add_file(directory, file):
    """The card of a release gets a row on a `ReleasedFile` for microcontrollers, and its lines."""
    lines = card_lines(directory)
    start = next(i for i, line in enumerate(lines) if line.startswith(TABLE_START))
    end = next(i for i, line in enumerate([*lines, ""]) if i > start and line[:1] != "|")
    command = f"python -m anp_tf.export --model={shlex.quote(str(directory))} --format=micro"
    made = [*micro_lines(file.micro)[:-1], f"Made by `{command}`.", ""]
    lines[end : end + 1] = [file.row(), "", *made]
    _write(directory, lines)


def renew_card(directory):
    """The card of an earlier release says what the verdicts beside it say now.

    They are `robustness.json`, `checks.json` and `certificate.json`, as `evaluate` writes them with
    `--output`, of the network; and `robustness.json` of one of its other files, in the folder that
    the file is in or in `FILE.robustness` beside it.

    Args:
        directory: Folder of a release: of versions and `README.md`.

    Returns:
        The `pathlib.Path` of the card.

    Raises:
        WorkdirError: if there is no card of a release, or a verdict is damaged.
    """
    directory = pathlib.Path(directory)
    lines = card_lines(directory)
    end = next(i for i, line in enumerate(lines) if line.startswith(AFTER_VERDICTS_STARTS))
    starts = [i for i, line in enumerate(lines[:end]) if line.startswith(VERDICT_STARTS)]
    verdicts = (_shown(directory / name) for name in SHOWN)
    lines[min([*starts, end]) : end] = verdict_lines(*verdicts, _of_files(directory))
    return _write(directory, lines)


def _of_files(directory):
    """What the verdicts in the folders of a release say of the files there."""
    lines = []
    for path in sorted(directory.glob("*/robustness.json")):
        folder, results = path.parent, _shown(path)
        inside = dict.fromkeys(folder.iterdir(), f"in `{folder.name}`")
        beside = folder.with_name(folder.name.removesuffix(".robustness"))
        for file, name in {**inside, beside: f"`{beside.name}`"}.items():
            network = digest(file) if file.is_file() else None
            judged = {key: r for key, r in results.items() if r.get("network", "") == network}
            if judged:
                lines += [f"{OF_FILE}{name}:", "", *robustness_lines(judged)]
    return lines


def _shown(path):
    return read_json(path, **SHOWN[path.name])


def _starts(start):
    return lambda line: line.startswith(start)


def _write(directory, lines):
    path = pathlib.Path(directory) / CARD
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return path
