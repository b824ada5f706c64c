"""What is beside the versions in a folder of a release, and describes the newest of them."""

import pathlib

from anp_tf.export.written_card import CARD, is_card, network_of
from anp_tf.files import write_json
from anp_tf.robustness import certificate_of, checks_of, digest, robustness_of
from anp_tf.serving import versions
from anp_tf.workdir import holds_results

RESULTS = "results.json"
VERDICTS = {  # each with the function that reads what it says of a network
    "robustness.json": robustness_of,
    "checks.json": checks_of,
    "certificate.json": certificate_of,
}
OTHERS = ("labels.json", "columns.json", "models.config", "batching.config")


def check_own(directory):
    """A FileExistsError if files in a folder would be lost that are not of an earlier export."""
    directory = pathlib.Path(directory)
    names = (RESULTS, CARD, *VERDICTS, *OTHERS)
    there = [name for name in names if (directory / name).exists()]
    for has, lacking in (
        (versions(directory), "version of a network"),
        (is_card(directory / CARD), f"model card ({CARD}) of an export"),
    ):
        if there and not has:
            raise FileExistsError(
                f"{directory} has {', '.join(there)}, and no {lacking} that they could be of: name "
                "another folder, or move the files"
            )
    if RESULTS in there and not holds_results(directory / RESULTS):
        raise FileExistsError(
            f"{directory / RESULTS} was not written by an export, and is not overwritten: name "
            "another folder, or move the file"
        )


def check_same(directory, version, network):
    """A ValueError if a version that is there is not the newest one, of a network.

    Args:
        directory: Folder of a release.
        version: Integer.
        network: Digest of the run's network.
    """
    there = versions(directory)
    if version in there and (version < max(there) or network_of(directory) != network):
        raise ValueError(
            "Argument `version` must be a new one, or the newest if that is of the same network, "
            f"as {CARD} says. Received: version={version}, which is in {directory} already"
        )


def verdicts_of(workdir, directory, version):
    """What is known of a network that is released: a dict from the file's name to its content.

    It is of the run's network, from the run or from an earlier release; or of the SavedModel of the
    version, where that is there already.

    Args:
        workdir: `Workdir` of the run.
        directory: `pathlib.Path` of the release.
        version: Integer.
    """
    network, saved = digest(workdir.network), directory / str(version)
    known = [(workdir.path, network), (directory, network)]
    known += [(directory, digest(saved))] if saved.exists() else []
    return {
        name: next(filter(None, (read(folder / name, of) for folder, of in known)), None)
        for name, read in VERDICTS.items()
    }


def write_beside(directory, contents):
    """Writes files of JSON beside the versions, and removes those that have no content.

    Args:
        directory: `pathlib.Path` of the release.
        contents: Dict from the file's name to its content, empty or None where there is none.
    """
    for name, content in contents.items():
        if content:
            write_json(directory / name, content)
        else:
            (directory / name).unlink(missing_ok=True)
