"""Writes `api.md`: the public names of each package, from their docstrings.

python docs/api.py
"""

import importlib
import inspect
import pathlib
import re

import anp_tf

PAGE = pathlib.Path(__file__).parent / "api.md"
HEAD = """# Public names

Made by `python docs/api.py` from the docstrings, which say more: shapes, units, ranges, errors and
sources; `help(anp_tf.slim)` shows one. `import anp_tf` takes no time: the packages are imported
when they are used, as are the names that `anp_tf` itself has, {}. What a package has
besides is for the others of `anp_tf`, and may change.
"""


def page():
    """The text of the page."""
    lines = [HEAD.format(", ".join(f"`{name}`" for name in (*sorted(anp_tf.NAMES), "load")))]
    for package in anp_tf.PACKAGES:
        module = importlib.import_module(f"anp_tf.{package}")
        lines += [f"## `anp_tf.{package}`", "", _sentence(module), "", "| | |", "|---|---|"]
        names = getattr(module, "__all__", None) or _defined(module)
        lines += [_row(name, getattr(module, name)) for name in sorted(names, key=str.lower)]
        lines.append("")
    return "\n".join(lines)


def _defined(module):
    """The public functions and classes that a module defines."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _row(name, value):
    if inspect.ismodule(value):
        return f"| `{name}` | {_sentence(value)} |"
    if not callable(value):
        shown = (
            ", ".join(f"`{getattr(key, '__name__', key)}`" for key in value)
            if hasattr(value, "__iter__")
            else value
        )
        return f"| `{name}` | {shown} |"
    return f"| `{name}{_arguments(value)}` | {_sentence(value)} |"


def _arguments(value):
    made = value.__init__ if inspect.isclass(value) else value
    try:
        # Of a class older Pythons show the arguments of the `__new__` of Keras's layers.
        parameters = list(inspect.signature(made).parameters.values())[inspect.isclass(value) :]
    except ValueError:
        return "()"
    shown = [
        p.name if p.default is p.empty else f"{p.name}=…"
        for p in parameters
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return f"({', '.join(shown)})"


def _sentence(value):
    paragraph = " ".join(inspect.getdoc(value).split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`])(?<!et al)(?<!sec)\. ", paragraph)[0].replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page())
