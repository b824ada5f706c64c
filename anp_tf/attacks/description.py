"""What an attack is, in a line."""

import inspect

IMPLIED = "Linf()"  # by `norm=None`


class Described:
    """A class whose `repr` has the arguments that are not the defaults: `PGD(epsilon=0.3, …)`.

    Its constructor takes arguments by keyword, and keeps them as attributes of the same names.
    """

    def __repr__(self):
        texts = [
            f"{name}={text(value)}"
            for name, default in _defaults(type(self))
            if text(value := getattr(self, name, default)) not in (text(default), IMPLIED)
        ]
        return f"{type(self).__name__}({', '.join(texts)})"


def _defaults(kind):
    """Pairs of an argument's name and its default, those of bases where these get the rest."""
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY:
                yield parameter.name, parameter.default
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return


def text(value):
    """The name of a function, or what else says what a value is."""
    return getattr(value, "__name__", None) or repr(value)
