"""A run over three machines of their own, made of network namespaces, that are cut off in turn.

Each host is a namespace with an address in it, joined by a cable (a veth pair) to a switch (a
bridge in a fourth namespace). Nothing of the machine's own network is touched, and all is gone
once the namespaces are; those that a killed test run left behind are removed first.
"""

import contextlib
import errno
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from anp_tf.workdir import Workdir

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
PREFIX = "anp_tf_test"
CHIEF, WORKER = 0, 2
DELAY = 0.02  # seconds, of what each host sends
EPOCHS = 8
FLAGS = [
    "--method=anp_vs",
    "--distribution=multi_worker",
    "--op_threads=1",
    "--verbosity=0",  # which says what the weights are
    "--width_multiplier=0.1",
    "--batch_size=30",
    f"--epochs={EPOCHS}",
    "--limit_train_examples=150",  # four steps an epoch, and a checkpoint
    "--limit_test_examples=20",
    "--attack_steps=1",
    "--validation_attack_steps=1",
    "--eval_attack_steps=1",
]


def ip(*arguments):
    """Runs `ip`, and returns what it printed."""
    process = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if process.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {process.stderr.strip()}")
    return process.stdout


def remove(namespace):
    """Ends what runs in a namespace, and removes it; its cables go with it."""
    for pid in ip("netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "del", namespace)


def remove_left_behind():
    """Removes the namespaces of test runs that are over."""
    for line in ip("netns", "list").splitlines():
        found = re.match(rf"{PREFIX}_(\d+)_", line)
        if found and not pathlib.Path("/proc", found[1]).exists():
            remove(line.split()[0])


class Hosts:
    """Three hosts on a switch; a context manager, within which they are there."""

    addresses = ("10.0.0.1", "10.0.0.2", "10.0.0.3")

    def __init__(self):
        names = ("switch", *range(len(self.addresses)))
        self.switch, *self.names = (f"{PREFIX}_{os.getpid()}_{name}" for name in names)
        self.delayed = False

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for namespace in (self.switch, *self.names):
                ip("netns", "add", namespace)
                stack.callback(remove, namespace)
            ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
            ip("-n", self.switch, "link", "set", "bridge", "up")
            for host in range(len(self.names)):
                self._connect(host)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _connect(self, host):
        name, port = self.names[host], f"port{host}"
        ends = ("eth0", "type", "veth", "peer", "name", port, "netns", self.switch)
        ip("-n", name, "link", "add", *ends)
        ip("-n", name, "address", "add", f"{self.addresses[host]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        ip("-n", self.switch, "link", "set", port, "master", "bridge")
        self.plug_in(host)
        delay = ("root", "netem", "delay", f"{1000 * DELAY:.0f}ms")
        try:
            ip("netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", *delay)
            self.delayed = True
        except OSError:  # a kernel without netem
            self.delayed = False

    def plug_in(self, host):
        """Puts the host's cable into the switch."""
        ip("-n", self.switch, "link", "set", f"port{host}", "up")

    def pull_out(self, host):
        """Pulls the host's cable out of the switch."""
        ip("-n", self.switch, "link", "set", f"port{host}", "down")

    @contextlib.contextmanager
    def training(self, flags, folder):
        """Starts `python -m anp_tf.train` on all hosts; they end with the block at the latest.

        Yields:
            A list of `subprocess.Popen`. The output of the host `k` goes to `folder/k.txt`.
        """
        workers = [f"{address}:2222" for address in self.addresses]
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            processes = []
            for index, name in enumerate(self.names):
                config = {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                }
                process = subprocess.Popen(
                    ["ip", "netns", "exec", name, sys.executable, "-m", "anp_tf.train", *flags],
                    env={**os.environ, "TF_CONFIG": json.dumps(config), "PYTHONPATH": str(ROOT)},
                    stdout=stack.enter_context((folder / f"{index}.txt").open("w")),
                    stderr=subprocess.STDOUT,
                )
                processes.append(stack.enter_context(process))
                stack.callback(process.kill)
            yield processes


@pytest.fixture(scope="module")
def hosts():
    with contextlib.ExitStack() as stack:
        try:
            remove_left_behind()
            made = stack.enter_context(Hosts())
        except OSError as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield made


def outputs(folder):
    return [path.read_text() for path in sorted(folder.iterdir())]


def wait(processes, seconds):
    """The exit codes of processes; None of those that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline - time.monotonic()))
    return [process.returncode for process in processes]


def test_the_hosts_are_far_from_each_other(hosts):
    script = (
        "import socket, sys, time; began = time.monotonic(); "
        "print(socket.socket().connect_ex((sys.argv[1], 9)), time.monotonic() - began)"
    )
    command = (sys.executable, "-c", script, hosts.addresses[WORKER])
    code, seconds = ip("netns", "exec", hosts.names[CHIEF], *command).split()
    assert int(code) == errno.ECONNREFUSED
    if not hosts.delayed:
        pytest.skip("the hosts are joined without a delay: the kernel has no netem")
    assert float(seconds) >= 2 * DELAY


def test_a_host_is_cut_off_and_the_run_goes_on(hosts, small_data_dir, tmp_path):
    run = tmp_path / "run"
    flags = [*FLAGS, f"--workdir={run}", f"--data_dir={small_data_dir}"]

    def reached(step):
        return any(int(path.name) >= step for path in run.glob("checkpoints/[0-9]*"))

    for host, step in ((WORKER, 8), (CHIEF, 16)):
        with hosts.training(flags, tmp_path / f"cut at {step}") as processes:
            while not reached(step):
                codes = [process.poll() for process in processes]
                assert codes == [None] * 3, outputs(tmp_path / f"cut at {step}")
                time.sleep(0.01)
            hosts.pull_out(host)
            began = time.monotonic()
            codes = wait(processes, 60)
            print(f"without host {host}, all ended after {time.monotonic() - began:.0f} s")
            hosts.plug_in(host)
        for code, output in zip(codes, outputs(tmp_path / f"cut at {step}"), strict=True):
            assert code == 75, output
            assert "another worker has ended; the same command, on all workers, goes" in output
        assert not (run / "network.keras").exists()
    with hosts.training(flags, tmp_path / "to the end") as processes:
        codes = wait(processes, 300)
    ended = outputs(tmp_path / "to the end")
    assert codes == [0] * 3, ended
    (step,) = re.findall(r"from step (\d+) on 3 CPUs of 3 workers", ended[CHIEF])
    assert int(step) >= 16
    steps = [record["step"] for record in Workdir(run).epochs()]
    assert steps == [4 * epoch for epoch in range(1, EPOCHS + 1)]
    weights = [re.findall(r"SHA-256 of the weights: (\w+)", output) for output in ended]
    assert len(weights[CHIEF]) == 1
    assert weights == [weights[CHIEF]] * 3
