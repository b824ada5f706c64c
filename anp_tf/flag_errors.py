"""Errors as the command lines say them: with the names of flags."""

import difflib
import re

from absl import flags

EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number such as 0.03 or 8/255",
}
# As Keras and the library say that an argument is not valid.
OF_KERAS = re.compile(
    r"^(?:Invalid value received for argument `(?P<name>\w+)`\. Expected|"
    r"Argument `(?P<argument>\w+)` must be) (?P<expected>.*)\. Received: (?:\w+=)?(?P<received>.*)$"
)


def of_parsing(error):
    """What an error of absl's says, as those of options do."""
    if isinstance(error, flags.UnrecognizedFlagError):
        found = difflib.get_close_matches(error.flagname, list(flags.FLAGS), n=1)
        hint = f"did you mean --{found[0]}?" if found else "--help lists those there are"
        return f"--{error.flagname}: there is no such flag; {hint}"
    if isinstance(error, flags.CantOpenFlagFileError):
        return f"--flagfile: {str(error).removeprefix('ERROR:: ')}"
    if isinstance(error, UnicodeDecodeError):
        return f"--flagfile: expected a file of text, with a flag a line; {error}"
    match = re.match(r"flag --(\w+)=(.*?): ", str(error), re.DOTALL)
    expected = match and EXPECTED.get(flags.FLAGS[match[1]].flag_type())
    if not expected:
        return str(error)
    return f"--{match[1]}: expected {expected}, received {match[2]!r}"


def of_other_run(message):
    """A message whose options are flags."""
    message = re.sub(r"(?<=[ ])(\w+)=", r"--\1=", message)
    overwrites = "overwrite" in flags.FLAGS
    ways = ("another --workdir, or --overwrite", "another --workdir")
    return message.replace("another workdir, or overwrite it", ways[0] if overwrites else ways[1])


def of_value(message):
    """A message that begins with the name of an argument, with its flag if there is one."""
    message = _with_option(message)
    argument = message.partition(":")[0]
    for prefix in ("", "eval_attack_"):  # of the attack's own arguments, such as steps
        if prefix + argument in flags.FLAGS:
            return f"--{prefix}{message}"
    return message


def _with_option(message):
    """A message about an argument, in the style of Keras, as one about an option."""
    found = OF_KERAS.match(message)
    if not found:
        return message
    name = found["name"] or found["argument"]
    return f"{name}: expected {found['expected']}, received {found['received']}"
