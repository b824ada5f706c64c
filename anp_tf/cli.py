"""What the command lines share: flags from `Settings`, and errors in one line."""

import contextlib
import dataclasses
import importlib
import os
import pathlib
import re
import signal
import sys
import typing

from absl import app, flags, logging

from anp_tf.errors import (
    NonFiniteError,
    OtherRunError,
    Stopped,
    WorkerLost,
    nobody_reads,
    of_tensorflow,
    sentence,
)
from anp_tf.flag_errors import of_other_run, of_parsing, of_value
from anp_tf.help_page import help_page
from anp_tf.names import METHODS
from anp_tf.options import base_type, check, near, number, one_of, parse
from anp_tf.own_modules import import_modules
from anp_tf.settings import Settings

EXIT_USAGE = 2  # bad input, bad data, a full disk
EXIT_NON_FINITE = 3  # the training diverged
EXIT_STOPPED = 75  # saved and stopped by a signal; the same command goes on
HELP = ("h", "help", "helpshort", "helpfull")


class _NumberParser(flags.FloatParser):
    """Parses numbers, which may be fractions such as 8/255."""

    def convert(self, argument):
        return number(argument)


_PARSERS = {
    str: (flags.ArgumentParser, flags.ArgumentSerializer),
    int: (flags.IntegerParser, flags.ArgumentSerializer),
    float: (_NumberParser, flags.ArgumentSerializer),
}


def define(name, default, text, kind=str, group="run", exists=False, many=False):
    """Defines a flag of the running command.

    Args:
        name: Its name.
        default: Its default; None: not given.
        text: Help text.
        kind: `str`, `int`, `float`, `bool` or `list`, of strings.
        group: The group in which `--help` lists it.
        exists: Boolean, whether it names a file or a folder that must be there.
        many: Boolean, whether it may be given more than once: a list of strings.
    """
    module = sys.argv[0]
    if many:
        flags.DEFINE_multi_string(name, default, text, module_name=module)
    elif kind is bool:
        flags.DEFINE_boolean(name, default, text, module_name=module)
    elif kind is list:
        flags.DEFINE_list(name, default, text, module_name=module)
    else:
        parser, serializer = _PARSERS[kind]
        flags.DEFINE(parser(), name, default, text, flags.FLAGS, serializer(), module_name=module)
    flags.FLAGS[name].group = group
    flags.FLAGS[name].exists = exists


def define_settings(names=None):
    """Defines the flags of `Settings`, or those named, without a default then.

    `method` is left to the command.
    """
    for field in dataclasses.fields(Settings):
        if field.name != "method" and (names is None or field.name in names):
            kind = base_type(field.type)
            default = field.default if names is None else None
            if typing.get_origin(kind) is tuple:
                kind, default = list, default and ",".join(map(str, default))
            define(field.name, default, field.metadata["help"], kind, field.metadata["group"])
            flags.FLAGS[field.name].field = field


def settings_from_flags(**changes):
    """The `Settings` of the parsed flags, with some changed."""
    names = [field.name for field in dataclasses.fields(Settings) if field.name not in changes]
    return Settings(**{**{name: value(name) for name in names}, **changes})


def value(name):
    """The value that a flag gives to an option of `Settings`."""
    (kind,) = (field.type for field in dataclasses.fields(Settings) if field.name == name)
    given = flags.FLAGS[name].value
    if typing.get_origin(kind) is not tuple:
        return given
    text = ",".join(given or ())
    try:
        return parse(kind, text)
    except ValueError as error:
        raise ValueError(f"{name}: expected numbers, received {text}") from error


def proof_seconds():
    """The time that `--proof_minutes` gives, or None.

    Raises:
        ValueError: if it is not above 0.
    """
    minutes = flags.FLAGS.proof_minutes
    if minutes is not None and not minutes > 0:
        raise ValueError(f"proof_minutes: expected a value above 0, received {minutes}")
    return minutes and 60 * minutes


def define_workdir(text, exists=False):
    """Defines `--workdir`, which every command needs."""
    define("workdir", None, text, exists=exists)


def workdir():
    """The folder that `--workdir` names.

    Raises:
        ValueError: if it was not given.
    """
    if not flags.FLAGS.workdir:
        raise ValueError("workdir: expected the folder of a run, received none")
    return flags.FLAGS.workdir


def run(command, define_flags, subjects=(), goes_on=None):
    """Runs a command: every expected error is one line on stderr and an exit code.

    What needs no TensorFlow, which takes seconds to be imported, is done first: `--help`, and
    errors in flags.

    Args:
        command: Name of the module whose `main` does the work, without arguments, or on a list of
            subjects where there are some.
        define_flags: Function that defines the flags.
        subjects: What the command line may name beside the flags; all are meant if it names none.
        goes_on: Function from those it names to whether the same command goes on where it was
            stopped, or begins anew; None: it goes on.
    """
    _open_streams()
    define_flags()
    define("imports", (), "modules that register layers of your own", list, group="network")
    signal.signal(signal.SIGTERM, _stop)
    app.run(
        lambda argv: _guarded(command, argv, subjects, goes_on),
        flags_parser=lambda argv: _parse(argv, define_flags.__globals__["__doc__"]),
    )


def _open_streams():
    """Has closed standard streams lead nowhere; a file opened next would be one of them."""
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != place:
                os.dup2(nowhere, place)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(place, mode))


def _guarded(command, argv, subjects, goes_on):
    try:
        unknown = [argument for argument in argv[1:] if argument not in subjects]
        if unknown:
            known = f", subjects are {', '.join(subjects)}" if subjects else ""
            hint = near(unknown[0], subjects)
            raise ValueError(
                f"unexpected argument {unknown[0]!r}; flags start with --{known}{hint}"
            )
        _check_flags()
        main = _imported(command)
        main(argv[1:]) if subjects else main()
    except WorkerLost as lost:
        _say(str(lost))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.flush()
        os._exit(EXIT_STOPPED)  # or TensorFlow would wait for the other for up to a minute more
    except Stopped as stopped:
        _exit(_of_stop(stopped, argv, goes_on), EXIT_STOPPED)
    except NonFiniteError as error:
        _exit(str(error), EXIT_NON_FINITE)
    except BrokenPipeError:
        _exit(_of_stop(nobody_reads(), argv, goes_on), EXIT_STOPPED)
    except OSError as error:
        _exit(str(error), EXIT_USAGE)
    except OtherRunError as error:
        _exit(of_other_run(str(error)), EXIT_USAGE)
    except KeyboardInterrupt:
        _exit("interrupted", EXIT_STOPPED)
    except Exception as error:
        if not isinstance(error, ValueError) and not of_tensorflow(error):
            raise
        _exit(of_value(sentence(error)), EXIT_USAGE)


def _imported(command):
    """The `main` of a command's module, with TensorFlow imported without its notes, and set up."""
    from anp_tf.quiet import tensorflow as tf

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("ERROR")  # else each evaluation is one retracing too many
    if "op_threads" in flags.FLAGS and flags.FLAGS.op_threads:
        from anp_tf.threads import use_op_threads

        use_op_threads(flags.FLAGS.op_threads)
    import_modules(flags.FLAGS.imports)
    return importlib.import_module(command).main


def _check_flags():
    """Checks of the flags one by one that need no TensorFlow."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        field = getattr(flag, "field", None)
        if field is not None and (given := value(field.name)) is not None:
            check(field, given)
        if getattr(flag, "exists", False) and flag.value and not os.path.exists(flag.value):
            raise ValueError(f"{name}: expected a place that exists, received {flag.value}")
    if "method" in flags.FLAGS:
        for method in flags.FLAGS.method.split(","):
            one_of("method", method.strip(), METHODS)


def _parse(argv, purpose):
    argv = [argv[0], *map(_flagfile, argv[1:])]
    asked = [argument for argument in argv[1:] if argument.lstrip("-") in HELP]
    argv = [argument for argument in argv if argument not in asked]
    try:
        rest = flags.FLAGS(argv, known_only=bool(asked))
    except (flags.Error, UnicodeDecodeError, OSError) as error:
        _exit(of_parsing(error), EXIT_USAGE)
    if asked:
        full = asked[0].endswith("full")
        try:
            print(help_page(_command(), purpose, full))
            sys.stdout.flush()
        except BrokenPipeError:
            nobody_reads()
        sys.exit(0)
    return rest


def _flagfile(argument):
    """`--config=NAME` as the flagfile of this name in the package."""
    match = re.fullmatch(r"--?config=(.*)", argument)
    if not match:
        return argument
    path = packaged_config(f"{match[1]}.cfg")
    if not path.is_file():
        names = sorted(path.stem for path in packaged_config("").glob("*.cfg"))
        hint = near(match[1], names)
        _exit(
            f"--config: expected one of {', '.join(names)}, received {match[1]!r}{hint}", EXIT_USAGE
        )
    return f"--flagfile={path}"


def packaged_config(name):
    """The path of a file among the configs that come with the package."""
    return pathlib.Path(__file__).parent / "configs" / name


def _stop(signum, frame):
    raise Stopped("stopped; the same command goes on from there")


def _of_stop(stopped, argv, goes_on):
    """What a stop says, without that the command goes on if it does not."""
    text = str(stopped)
    return text if goes_on is None or goes_on(argv[1:]) else text.partition(";")[0]


def _exit(message, code):
    _say(message)
    sys.exit(code)


def _say(message):
    print(f"{_command()}: {' '.join(message.split())}", file=sys.stderr)


def _command():
    """The name of the running command, as it was started."""
    path = pathlib.Path(sys.argv[0])
    return f"anp_tf.{path.parent.name}" if path.name == "__main__.py" else path.name
