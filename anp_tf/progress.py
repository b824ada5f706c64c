"""Progress on the screen, with the time left."""

import contextlib
import datetime
import time

import keras
import rich.console
import rich.progress
import rich.table

from anp_tf.errors import nobody_reads

SECONDS_BETWEEN_LINES = 30
SHARES = {
    "accuracy": "clean",
    "adversarial_accuracy": "adversarial",
    "val_accuracy": "val clean",
    "val_adversarial_accuracy": "val adversarial",
    "val_proved": "val proved",
    "sparsity": "pruned",
}
NUMBERS = {
    "vulnerability": ("V", "{:.4f}"),
    "loss": ("loss", "{:.3f}"),
    "adversarial_loss": ("adversarial loss", "{:.3f}"),
    "kl": ("KL", "{:.0f}"),
    "learning_rate": ("rate", "{:.1e}"),
    "mask_learning_rate": ("mask rate", "{:.1e}"),
}


class Progress(keras.callbacks.Callback):
    """A bar over the whole run on a terminal, and a line an epoch everywhere.

    A context manager: the bar is there within the block.

    Args:
        title: String, what is trained.
        start: String, what it starts from.
        epochs: Integer, of the whole run.
        steps_per_epoch: Integer.
        done: Integer, steps done before.
        devices: String, what it is trained on.
    """

    def __init__(self, title, start, epochs, steps_per_epoch, done=0, devices="the CPU"):
        super().__init__()
        self.title = title
        self.start = f"from {start} on {devices}"
        self.epochs = epochs
        self.total = epochs * steps_per_epoch
        self.first = self.done = done
        self.began = None
        self.bar = progress_bar()
        self.task = self.bar.add_task(title, total=self.total, completed=done)

    def say(self, text):
        """Prints a line of the run."""
        self._print(text)

    def __enter__(self):
        self._print(self.start)
        self.bar.start()
        return self

    def __exit__(self, *error):
        self.bar.stop()

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.began is None:  # the first step is slow, since it builds the graph
            self.began, self.first = time.monotonic(), self.done
        if self.bar.live.console.is_terminal:
            text = f"{self.title}  {describe(logs)}"
            self.bar.update(self.task, completed=self.done, description=text)

    def on_epoch_end(self, epoch, logs=None):
        spent = time.monotonic() - self.began
        left = spent / max(1, self.done - self.first) * (self.total - self.done)
        self._print(f"epoch {epoch + 1}/{self.epochs}  {describe(logs)}  left {_duration(left)}")

    def _print(self, text):
        _say(self.bar, f"{self.title}  {text}")


@contextlib.contextmanager
def counting(title, total):
    """A bar for `total` examples; yields a function that takes the number done so far.

    Without a terminal there is a line at the end, and before it one every half a minute. The time
    left is that of what came after the first call, as an earlier start may have done the rest.
    """
    start = said = since = time.monotonic()
    with progress_bar() as bar:
        task, lines, first = bar.add_task(title, total=total), not bar.console.is_terminal, 0

        def progress(done):
            nonlocal said, since, first
            bar.update(task, completed=done)
            now = time.monotonic()
            if lines and now - said > SECONDS_BETWEEN_LINES and done > first:
                said = now
                left = _duration((now - since) / (done - first) * (total - done))
                _say(bar, f"{title}  {done:,.0f} of {total:,}  left {left}")
            if not first:
                since, first = now, done

        yield progress
    if lines:
        _say(bar, f"{title}  {total:,} in {_duration(time.monotonic() - start)}")


@contextlib.contextmanager
def silent(title, total):
    """As `counting`, and shows nothing."""
    yield lambda done: None


def _say(bar, text):
    bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _duration(seconds):
    return datetime.timedelta(seconds=round(seconds))


class _Console(rich.console.Console):
    """A console whose reader may go, as that of `train … | head` does."""

    def on_broken_pipe(self):
        raise nobody_reads()


class _Bar(rich.progress.Progress):
    """A bar that says nothing where it does not show, as of rich 14.3; before it an empty line."""

    def stop(self):
        if not self.disable:
            super().stop()


def progress_bar():
    """A `rich` bar with the time left; it shows on terminals only, and vanishes at the end."""
    console = _Console()
    # Takes what the others leave, and is cut where that is too little.
    description = rich.table.Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return _Bar(
        rich.progress.BarColumn(bar_width=15),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("{task.description}", table_column=description),
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )


def describe(logs):
    """The metrics of a step or an epoch as text; shares in percent."""
    parts = [
        f"{label} {100 * float(logs[name]):.1f}" for name, label in SHARES.items() if name in logs
    ]
    for name, (label, form) in NUMBERS.items():
        if name in logs:
            parts.append(f"{label} {form.format(float(logs[name]))}")
    return "  ".join(parts)
