"""What all tests share: data sets on disk, commands as processes, a finished training run."""

import dataclasses
import fcntl
import gc
import json
import os
import pathlib
import pickle
import subprocess
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as the commands have it, whatever the shell has
# Two workers on two cores: threads beyond one each only wait for one another.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.data import packaged_mnist
from anp_tf.interruption import VARIABLE

ROOT = pathlib.Path(__file__).parents[1]
# Files whose tests take longest; begun first, they do not run on alone at the end. The first two
# begin at once: one makes the finished run, which the other does not need.
LONGEST = (
    "train_test.py",
    "training_model_test.py",
    "readme_test.py",
    "chain_test.py",
    "report_test.py",
    "cli_test.py",
    "attacks_command_test.py",
    "slim_test.py",
    "bounds_test.py",
    "prove_test.py",
    "fab_test.py",
    "fit_test.py",
    "apgd_test.py",
    "mask_test.py",
    "pgd_test.py",
    "users_networks_test.py",
    "distribution_test.py",
)

# Graphs of toy networks take longer to optimize than to run; those of commands are optimized.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items):
    gc.freeze()  # or every full collection would walk through all that was imported
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same random numbers, in whatever order they run."""
    keras.utils.set_random_seed(0)


def once(tmp_path_factory, name, make):
    """`make(folder)` by the first of the workers that needs it; what it returned, for all."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = base / f"{name}.pickle"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder = base / name
            folder.mkdir()
            made.write_bytes(pickle.dumps(make(folder)))
    return pickle.loads(made.read_bytes())


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A TFDS directory with MNIST in it, which is the default one from here on."""

    def make(folder):
        data.load("mnist", "test", folder)
        return folder

    directory = once(tmp_path_factory, "tfds", make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(directory))
        yield directory


@pytest.fixture(scope="session")
def small_data_dir(tmp_path_factory):
    """A TFDS directory whose MNIST is the first 400 training and 100 test images."""

    def make(folder):
        sizes = {"train": 400, "test": 100}
        arrays = {
            name: a[: sizes[name.split("_")[0]]] for name, a in packaged_mnist.arrays().items()
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packaged_mnist, "arrays", lambda: arrays)
            data.load("mnist", "test", folder)
        return folder

    return once(tmp_path_factory, "small_tfds", make)


@dataclasses.dataclass
class Outcome:
    """How a command ended: exit code (below 0: the signal that killed it), stdout and stderr."""

    code: int
    out: str
    err: str


class Process:
    """A command that runs."""

    def __init__(self, commands, pid, out, err):
        self.commands, self.pid, self.out, self.err = commands, pid, out, err

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        code = self.commands.ask(wait=self.pid)
        return Outcome(code, self.out.read_text(), self.err.read_text())


class Commands:
    """Runs `python -m MODULE FLAGS` as processes, each forked from one that imported TensorFlow.

    The import is most of what a command does in its first seconds; all else is as from a shell.
    """

    LAUNCHER = """
import atexit, gc, importlib, json, os, runpy, signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background shell ignores
import anp_tf.cli, anp_tf.evaluate.row, anp_tf.robustness, anp_tf.serving, anp_tf.train.run
gc.freeze()  # or a process would copy all of its memory when it ends
for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
        print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        continue
    if "load" in request:
        importlib.import_module(request["load"])
        gc.freeze()
        print(0, flush=True)
        continue
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(request["out"], os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(request["err"], os.O_WRONLY | os.O_CREAT), 2)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        sys.argv = ["", *request["flags"]]
        exec(request["before"])
        code = 0
        try:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        except SystemExit as error:
            if not isinstance(error.code, int | None):
                raise
            code = error.code or 0
        # As `sys.exit`, but that not every object is freed.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(pid, flush=True)
"""

    def __init__(self, directory, env):
        self.directory, self.env, self.count = directory, env, 0
        self.launcher = subprocess.Popen(
            [sys.executable, "-c", self.LAUNCHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
        )

    def ask(self, **request):
        print(json.dumps(request), file=self.launcher.stdin, flush=True)
        return int(self.launcher.stdout.readline())

    def load(self, module):
        """Imports a module that commands from here on have, for those that need long for it."""
        self.ask(load=f"anp_tf.{module}")

    def start(self, module, *flags, cwd=None, kill_at=None, env=None, before=""):
        """Starts a command.

        `kill_at` is where it is to end (see `anp_tf.interruption`), `env` what its environment has
        besides, `before` Python code that its process runs first.
        """
        killed = {VARIABLE: kill_at} if kill_at else {}
        self.count += 1
        out, err = (self.directory / f"{self.count}.{name}" for name in ("out", "err"))
        pid = self.ask(
            module=f"anp_tf.{module}",
            flags=[str(flag) for flag in flags],
            cwd=str(cwd or self.directory),
            env={**self.env, **killed, **(env or {})},
            out=str(out),
            err=str(err),
            before=before,
        )
        return Process(self, pid, out, err)

    def run(self, module, *flags, **kwargs):
        return self.start(module, *flags, **kwargs).wait()

    def stop(self):
        self.launcher.communicate()


@pytest.fixture(scope="session")
def commands(tmp_path_factory, small_data_dir):
    """`commands.run("train", *flags)`, on the small MNIST."""
    environment = {"TFDS_DATA_DIR": str(small_data_dir)}
    commands = Commands(tmp_path_factory.mktemp("commands"), environment)
    yield commands
    commands.stop()


@dataclasses.dataclass
class Finished:
    """A finished training run of two methods: its folder, its flags, and how the command ended."""

    path: pathlib.Path
    flags: list
    outcome: Outcome


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_data_dir):
    """A run of `standard` and `anp_vs`, 3 epochs of 4 steps, by the command as a user starts it.

    Its folder has a space in its name. Tests read it only, or copy it.
    """

    def make(directory):
        return finish(directory, small_data_dir)

    return once(tmp_path_factory, "finished run", make)


def finish(directory, data_dir):
    flags = [
        "--method=standard,anp_vs",
        f"--workdir={directory / 'runs'}",
        "--export",
        "--deterministic",
        "--width_multiplier=0.1",
        "--epochs=3",
        "--standard_epochs=2",
        "--learning_rate=1e-2",
        "--mask_learning_rate=2",
        "--beta=0.02",
        "--attack_steps=1",
        "--validation_attack_steps=1",
        "--eval_attack_steps=2",
        "--limit_train_examples=320",
        "--limit_test_examples=50",
    ]
    process = subprocess.run(
        [sys.executable, "-m", "anp_tf.train", *flags],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = Outcome(process.returncode, process.stdout, process.stderr)
    return Finished(directory / "runs", flags, outcome)
