"""Who the workers of a run on several machines are, from `TF_CONFIG` or from SLURM."""

import json
import os

import tensorflow as tf

JOBS = ("chief", "worker")
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
SLURM_PORT = 8888  # of the first task of each node; the others have the ports that follow


def cluster():
    """The workers' addresses, and which of them this process is.

    Returns:
        `(addresses, job, index)`: a dict from "chief" (which may be missing) and "worker" to a list
        of "host:port", and this process's place in it.

    Raises:
        ValueError: if the environment does not say, or not in a valid way.
    """
    if "TF_CONFIG" in os.environ:
        return _from_tf_config(os.environ["TF_CONFIG"])
    if all(name in os.environ for name in SLURM):
        return _from_slurm()
    raise ValueError(
        "distribution: multi_worker expects TF_CONFIG, or the variables of a SLURM step (srun), "
        "in the environment; received neither"
    )


def _from_tf_config(text):
    try:
        config = json.loads(text)
        addresses, task = config["cluster"], config["task"]
        job, index = task["type"], int(task["index"])
        listed = {name: list(addresses[name]) for name in addresses}
        valid = (
            set(listed) <= set(JOBS)
            and len(listed.get("chief", [])) <= 1
            and all(":" in address for job in listed.values() for address in job)
            and 0 <= index < len(listed[job])
        )
    except (KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(
            "distribution: expected a TF_CONFIG such as "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
            '"task": {"type": "worker", "index": 0}}, with the jobs chief (at most one) and '
            f"worker, received {text!r}"
        )
    return listed, job, index


def _from_slurm():
    # The numbers of GPUs keep it from asking for them: each task uses those that it sees.
    try:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=2**16, gpus_per_task=1, auto_set_gpu=False
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"distribution: cannot read SLURM's variables: {error}") from error
    # Its own `cluster_spec` sorts the nodes by name, "n10" before "n9", which are not their ranks.
    tasks = resolver._task_configuration
    workers = [f"{node}:{SLURM_PORT + k}" for node, count in tasks.items() for k in range(count)]
    return {"worker": workers}, "worker", int(os.environ["SLURM_PROCID"])
