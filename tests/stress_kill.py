"""Kills a training run at random moments, again and again, and compares what comes out of it.

    python tests/stress_kill.py --kills=20

trains once undisturbed and once killed by SIGKILL at random moments, at least so many times, both
with `--deterministic`; the trained networks must be equal bit for bit. It takes some minutes, most
of them starts of the process, and ends with exit code 0 if all is well.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = pathlib.Path(__file__).parents[1]
FLAGS = (
    "--method=anp_vs",
    "--deterministic",
    "--width_multiplier=0.3",
    "--limit_train_examples=3000",
    "--validation_examples=200",
    "--limit_test_examples=50",
    "--attack_steps=3",
    "--attack_step_size=0.1",
    "--eval_attack_steps=2",
    "--mask_learning_rate=0.03",
    "--mask_freeze_at=0.6",
    "--checkpoint_seconds=1",
)


def start(workdir, epochs):
    """The run as a process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    flags = [*FLAGS, f"--epochs={epochs}", f"--workdir={workdir}"]
    command = [sys.executable, "-m", "anp_tf.train", *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def weights(workdir):
    """The bytes of every weight of the trained network."""
    from anp_tf.workdir import load_network

    return [weight.tobytes() for weight in load_network(workdir).get_weights()]


def steps(workdir):
    """How far the checkpoints are, as text."""
    found = [p.name for p in (workdir / "checkpoints").glob("[0-9]*")] or ["none"]
    return max(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how many, at least")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = (pathlib.Path(folder) / name for name in ("whole", "killed"))
        began = time.monotonic()
        if start(whole, given.epochs).wait():
            sys.exit("the undisturbed run failed")
        undisturbed = time.monotonic() - began
        print(f"undisturbed: {undisturbed:.0f} s", flush=True)
        kills = 0
        while kills < given.kills:
            process = start(killed, given.epochs)
            try:
                code = process.wait(moments.uniform(0.05, 0.6) * undisturbed)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                print(f"kill {kills}: checkpoint {steps(killed)}", flush=True)
                continue
            if code:
                sys.exit(f"a start after {kills} kills ended with exit code {code}")
            if weights(killed) != weights(whole):
                sys.exit(f"after {kills} kills the weights differ")
            print(f"finished after {kills} kills, weights equal; begun anew", flush=True)
            subprocess.run(["rm", "-r", killed], check=True)
        if start(killed, given.epochs).wait():
            sys.exit("the last start failed")
        if weights(killed) != weights(whole):
            sys.exit(f"after {kills} kills the weights differ")
        print(f"{kills} kills: the weights are equal bit for bit")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
