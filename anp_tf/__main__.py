"""`anp-tf COMMAND`, or `python -m anp_tf COMMAND`: the commands of the package."""

import runpy
import sys

from anp_tf import __version__
from anp_tf.options import near

COMMANDS = {
    "train": "trains networks, evaluates and compares them",
    "evaluate": "measures a network, or attacks it in earnest",
    "export": "a slimmed network for TensorFlow Serving, LiteRT, ONNX, microcontrollers",
    "report": "a page on trained networks, with figures",
    "tune": "searches for options",
    "reproduce": "the paper's tables and its sparsity curve",
    "benchmark": "speed and size, measured",
}


def main():
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv = [f"anp-tf {name}", *sys.argv[2:]]
        runpy.run_module(f"anp_tf.{name}", run_name="__main__")
    elif name in ("-h", "--help", "help"):
        print(f"anp-tf {__version__}: networks that are robust, and small enough to deploy\n")
        for command, purpose in COMMANDS.items():
            print(f"  anp-tf {command:10} {purpose}")
        print("\nanp-tf COMMAND --help lists its flags. A first run, of minutes on two CPU cores:")
        print("  anp-tf train --config=quickstart")
    elif name == "--version":
        print(__version__)
    else:
        hint = near(name, COMMANDS)
        expected = ", ".join(COMMANDS)
        print(f"anp-tf: expected one of {expected}, received {name!r}{hint}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
