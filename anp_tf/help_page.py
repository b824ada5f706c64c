"""What `--help` prints: the flags of a command, by groups."""

import shutil
import sys
import textwrap

from absl import flags

from anp_tf.settings import method_class, unread

ORDER = (
    "run",
    "data",
    "network",
    "training",
    "attack",
    "masks",
    "bounds",
    "method",
    "evaluation",
    "machine",
)
COLUMN = 30  # where the texts start
WIDEST = 110


def help_page(command, purpose, full=False):
    """The flags of the running command with their defaults.

    Args:
        command: Name of the command, as it is started.
        purpose: What it does, in a sentence.
        full: Boolean, whether absl's own flags are listed too.

    Returns:
        Text, as wide as the terminal.
    """
    own = flags.FLAGS.flags_by_module_dict().get(sys.argv[0], [])
    if full:
        listed = {flag.name for flag in own}
        others = [f for module in flags.FLAGS.flags_by_module_dict().values() for f in module]
        own = [*own, *(flag for flag in others if flag.name not in listed)]
    hidden = _unread()
    width = min(WIDEST, shutil.get_terminal_size().columns)
    start = f"python -m {command}" if command.startswith("anp_tf.") else command
    lines = [f"{start}: {purpose[0].lower()}{purpose.strip()[1:]}", ""]
    groups = {}
    for flag in own:
        if flag.name in hidden:
            continue
        groups.setdefault(getattr(flag, "group", "absl"), []).append(flag)
    for name in (*ORDER, "absl"):
        if name in groups:
            lines += [f"{name}:", *(_lines(flag, width) for flag in groups[name]), ""]
    if "method" in groups and not hidden:
        lines.append("Each method reads its own among these; --help --method=NAME lists them.")
    lines += [
        "--flagfile=FILE reads flags from a file, --config=NAME from one that comes with the",
        "package; later flags win. --helpfull lists all flags.",
    ]
    return "\n".join(lines)


def _lines(flag, width):
    """A flag with its default, and what it is for beside it."""
    if flag.boolean:
        left = f"  --{'no' if flag.value else ''}{flag.name}"
    else:
        value = flag.serialize().partition("=")[2] if flag.value is not None else ""
        left = f"  --{flag.name}={value or _kind(flag)}"
    text = flag.help.strip().rstrip(".")
    if text.partition(" ")[0].isalpha():  # no name
        text = f"{text[0].upper()}{text[1:]}"
    wrapped = textwrap.wrap(" ".join(text.split()) + ".", max(30, width - COLUMN))
    if len(left) >= COLUMN - 1:
        wrapped = ["", *wrapped]
    first, *rest = wrapped
    return "\n".join([f"{left:{COLUMN}}{first}".rstrip(), *(" " * COLUMN + line for line in rest)])


def _unread():
    """The options that the method does not read, if one is named."""
    if "method" not in flags.FLAGS or not flags.FLAGS["method"].present:
        return ()
    from anp_tf.quiet import tensorflow  # noqa: F401 - without its notes

    return unread(method_class(flags.FLAGS.method))


def _kind(flag):
    kinds = {"int": "N", "float": "X"}
    return kinds.get(flag.flag_type(), "…")
