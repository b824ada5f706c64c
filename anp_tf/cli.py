"""What the command lines share: flags from `Settings`, and errors in one line."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import sys
import typing

from absl import app, flags, logging

from anp_tf.errors import NonFiniteError, OtherRunError, Stopped, WorkerLost, sentence
from anp_tf.options import base_type, number, parse
from anp_tf.quiet import tensorflow as tf
from anp_tf.settings import Settings
from anp_tf.training.progress import nobody_reads
from anp_tf.training.threads import use_op_threads

EXIT_USAGE = 2  # bad input, bad data, a full disk
EXIT_NON_FINITE = 3  # the training diverged
EXIT_STOPPED = 75  # saved and stopped by a signal; the same command goes on


class _NumberParser(flags.FloatParser):
    """Parses numbers, which may be fractions such as 8/255."""

    def convert(self, argument):
        return number(argument)


_PARSERS = {
    str: (flags.ArgumentParser, flags.ArgumentSerializer),
    int: (flags.IntegerParser, flags.ArgumentSerializer),
    float: (_NumberParser, flags.ArgumentSerializer),
}


def define(name, default, text, kind=str):
    """Defines a flag of the running command, listed by its `--help`."""
    module = sys.argv[0]
    if kind is bool:
        flags.DEFINE_boolean(name, default, text, module_name=module)
    elif kind is list:
        flags.DEFINE_list(name, default, text, module_name=module)
    else:
        parser, serializer = _PARSERS[kind]
        flags.DEFINE(parser(), name, default, text, flags.FLAGS, serializer(), module_name=module)


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
            define(field.name, default, field.metadata["help"], kind)


def settings_from_flags(**changes):
    """The `Settings` of the parsed flags, with some changed."""
    values = {}
    for field in dataclasses.fields(Settings):
        if field.name in changes:
            continue
        values[field.name] = flags.FLAGS[field.name].value
        if typing.get_origin(field.type) is tuple:
            text = ",".join(values[field.name] or ())
            try:
                values[field.name] = parse(field.type, text)
            except ValueError as error:
                raise ValueError(f"{field.name}: expected numbers, received {text}") from error
    return Settings(**{**values, **changes})


def define_workdir(text):
    """Defines `--workdir`, which every command needs."""
    define("workdir", None, text)


def workdir():
    """The folder that `--workdir` names.

    Raises:
        ValueError: if it was not given.
    """
    if not flags.FLAGS.workdir:
        raise ValueError("workdir: expected the folder of a run, received none")
    return flags.FLAGS.workdir


def say_exported(paths):
    """Says where an exported network is, and how to load a SavedModel."""
    for path in paths:
        served = (path / "saved_model.pb").is_file()
        how = f"; load it by tf.saved_model.load({str(path)!r})" if served else ""
        print(f"the slimmed network is in {path}{how}")


def run(main, define_flags, subjects=()):
    """Runs a command: every expected error is one line on stderr and an exit code.

    Args:
        main: Function without arguments, or of a list of subjects where there are some.
        define_flags: Function that defines the flags.
        subjects: What the command line may name beside the flags; all are meant if it names none.
    """
    define_flags()
    signal.signal(signal.SIGTERM, _stop)
    app.run(lambda argv: _guarded(main, argv, subjects), flags_parser=_parse)


def _guarded(main, argv, subjects):
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
        tf.get_logger().setLevel("ERROR")  # else each evaluation is one retracing too many
    try:
        unknown = [argument for argument in argv[1:] if argument not in subjects]
        if unknown:
            known = f", subjects are {', '.join(subjects)}" if subjects else ""
            raise ValueError(f"unexpected argument {unknown[0]!r}; flags start with --{known}")
        if "op_threads" in flags.FLAGS and flags.FLAGS.op_threads:
            use_op_threads(flags.FLAGS.op_threads)
        main(argv[1:] or list(subjects)) if subjects else main()
    except WorkerLost as lost:
        _say(str(lost))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.flush()
        os._exit(EXIT_STOPPED)  # or TensorFlow would wait for the other for up to a minute more
    except Stopped as stopped:
        _exit(str(stopped), EXIT_STOPPED)
    except NonFiniteError as error:
        _exit(str(error), EXIT_NON_FINITE)
    except BrokenPipeError:
        _exit(str(nobody_reads()), EXIT_STOPPED)
    except OSError as error:
        _exit(str(error), EXIT_USAGE)
    except OtherRunError as error:
        _exit(_with_flags(str(error)), EXIT_USAGE)
    except (ValueError, tf.errors.OpError) as error:
        message = sentence(error)
        argument = message.partition(":")[0]
        _exit(f"--{message}" if argument in flags.FLAGS else message, EXIT_USAGE)
    except KeyboardInterrupt:
        _exit("interrupted", EXIT_STOPPED)


def _with_flags(message):
    """A message whose options are flags."""
    message = re.sub(r"(?<=[ ])(\w+)=", r"--\1=", message)
    overwrites = "overwrite" in flags.FLAGS
    ways = ("another --workdir, or --overwrite", "another --workdir")
    return message.replace("another workdir, or overwrite it", ways[0] if overwrites else ways[1])


def _parse(argv):
    try:
        return flags.FLAGS(argv)
    except (flags.Error, UnicodeDecodeError) as error:
        _exit(str(error), EXIT_USAGE)


def _stop(signum, frame):
    raise Stopped("stopped; the same command goes on from there")


def _exit(message, code):
    _say(message)
    sys.exit(code)


def _say(message):
    line = " ".join(message.split())
    command = pathlib.Path(sys.argv[0])
    name = f"{command.parent.name}.py" if command.name == "__main__.py" else command.name
    print(f"{name}: {line}", file=sys.stderr)
