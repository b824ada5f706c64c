"""The devices that a run trains on: one, all of this machine, or those of several machines."""

import contextlib
import functools
import signal
import zlib

import tensorflow as tf

from anp_tf.train.cluster import JOBS, cluster

# What the operations between workers end by once one of them is gone.
LOST_WORKER = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)


class Devices:
    """The replicas that share the batches of a run, on one or on several workers.

    A worker is a process. All workers call the methods in the same order, as they train in step.

    Args:
        strategy: `tf.distribute.Strategy`; None for the one that is there, by default no strategy.
        workers: Integer, how many processes the strategy spans.
        index: Integer, which of them this is.

    Attributes:
        chief: Boolean, whether this process writes the workdir.
        replicas: Integer, over all workers.
    """

    def __init__(self, strategy=None, workers=1, index=0):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.workers = workers
        self.index = index
        self.chief = index == 0
        self.replicas = self.strategy.num_replicas_in_sync

    def __str__(self):
        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        if self.replicas == 1:
            return "1 GPU" if kind == "GPU" else "the CPU"
        workers = f" of {self.workers} workers" if self.workers > 1 else ""
        return f"{self.replicas} {kind}s{workers}"

    def share(self, batches):
        """The batches for `fit`: each replica gets an equal part of each.

        On one worker `fit` divides the batches. Of several, each takes its own slice of the very
        batches that one device would see. (TensorFlow's own sharding would give each worker other
        batches, so that a step would mix the halves of two of them.)

        Args:
            batches: `tf.data.Dataset` of tuples of tensors [batch, ...], with a multiple of
                `replicas` examples in every batch.
        """
        if self.workers == 1:
            return batches
        local = self.replicas // self.workers
        mine = slice(self.index * local, (self.index + 1) * local)

        def parts(*tensors):
            return tuple(tf.reshape(t, [self.replicas, -1, *t.shape[1:]])[mine] for t in tensors)

        parts_of_replicas = batches.map(parts).unbatch().prefetch(tf.data.AUTOTUNE)
        return self.strategy.distribute_datasets_from_function(lambda context: parts_of_replicas)

    def total(self, number):
        """The sum of the workers' integers; it waits for all of them."""
        if self.workers == 1:
            return number
        return int(self.strategy.reduce("SUM", tf.constant(number, tf.int64), axis=None))

    def any(self, flag):
        """Whether a flag is set on any worker."""
        return self.total(int(flag)) > 0

    def of_chief(self, number):
        """The chief's integer."""
        return self.total(int(number) if self.chief else 0)

    def check_same(self, what, value):
        """Checks that a value is the chief's on all workers.

        Raises:
            ValueError: on all of them, if it is not; `what` says in words what differs.
        """
        code = zlib.crc32(repr(value).encode())
        if self.any(self.of_chief(code) != code):
            raise ValueError(f"distribution: the workers have different {what}")


def devices_for(distribution):
    """The `Devices` that an option `--distribution` means in this process.

    Args:
        distribution: `"none"`; `"mirrored"`, all GPUs of this machine, or all logical CPUs where it
            has none; `"auto"`, the former unless there are several GPUs; `"multi_worker"`.

    Raises:
        ValueError: if it is `"multi_worker"` and the process has not joined the others.
    """
    if distribution == "multi_worker":
        if not join.cache_info().currsize:
            raise ValueError(
                "distribution: expected auto, none or mirrored, received multi_worker, which is "
                "for the command anp_tf.train only"
            )
        return join()
    several_gpus = len(tf.config.list_physical_devices("GPU")) > 1
    if distribution == "mirrored" or (distribution == "auto" and several_gpus):
        return Devices(_mirrored())
    return Devices()


@functools.cache
def join():
    """Joins the other workers, waiting for them; before any other operation of the process.

    Returns:
        `Devices`, always the same.

    Raises:
        ValueError: if neither `TF_CONFIG` nor SLURM says who they are, or `TF_CONFIG` is malformed.
    """
    addresses, job, index = cluster()
    workers = [(job, k) for job in JOBS for k in range(len(addresses.get(job, [])))]
    if len(workers) == 1:
        return Devices(_mirrored())
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(addresses),
        task_type=job,
        task_id=index,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    with _interruptible():
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    return Devices(strategy, len(workers), workers.index((job, index)))


@functools.cache  # two strategies of a process would take each other's collective operations
def _mirrored():
    local = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    # Named, since the strategy would take those of `TF_CONFIG`.
    return tf.distribute.MirroredStrategy([device.name for device in local])


@contextlib.contextmanager
def _interruptible():
    """A wait outside of Python, whose handlers would not be called: a signal ends the process."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
