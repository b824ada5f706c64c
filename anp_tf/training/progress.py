"""Progress on the screen, with the time left."""

import contextlib
import datetime
import time

import keras
import rich.console
import rich.progress

COLUMNS = {
    "accuracy": "clean",
    "adversarial_accuracy": "adversarial",
    "val_accuracy": "val clean",
    "val_adversarial_accuracy": "val adversarial",
    "sparsity": "pruned",
}


class Progress(keras.callbacks.Callback):
    """A bar over the whole run on a terminal, and a line an epoch everywhere.

    A context manager: the bar is there within the block.

    Args:
        title: String, what is trained.
        epochs: Integer, of the whole run.
        steps_per_epoch: Integer.
        done: Integer, steps done before.
    """

    def __init__(self, title, epochs, steps_per_epoch, done=0):
        super().__init__()
        self.title = title
        self.epochs = epochs
        self.total = epochs * steps_per_epoch
        self.first = self.done = done
        self.began = time.monotonic()
        self.bar = progress_bar()
        self.task = self.bar.add_task(title, total=self.total, completed=done)

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *error):
        self.bar.stop()

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.bar.live.console.is_terminal:
            text = f"{self.title}  {describe(logs)}"
            self.bar.update(self.task, completed=self.done, description=text)

    def on_epoch_end(self, epoch, logs=None):
        spent = time.monotonic() - self.began
        left = spent / max(1, self.done - self.first) * (self.total - self.done)
        remaining = datetime.timedelta(seconds=round(left))
        self.bar.console.print(
            f"{self.title}  epoch {epoch + 1}/{self.epochs}  {describe(logs)}  left {remaining}",
            highlight=False,
            soft_wrap=True,
        )


@contextlib.contextmanager
def counting(title, total):
    """A bar for `total` examples; yields a function that takes the number done so far."""
    with progress_bar() as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def progress_bar():
    """A `rich` bar with the time left; it shows on terminals only, and vanishes at the end."""
    console = rich.console.Console()
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=20),
        rich.progress.TaskProgressColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def describe(logs):
    """The main figures of a step or an epoch, in percent."""
    shares = [f"{label} {100 * float(logs[name]):.1f}" for name, label in COLUMNS.items() if name in logs]  # fmt: skip # noqa: E501
    if "vulnerability" in logs:
        shares.append(f"V {float(logs['vulnerability']):.4f}")
    return "  ".join(shares)
