"""What a run writes down of itself: `metrics.jsonl` and TensorBoard's files."""

import keras
import tensorflow as tf

from anp_tf.layers import given_masks
from anp_tf.layers.many_masks import inference_masks

MOST_CHANNELS = 4  # of an image in TensorBoard


class Records(keras.callbacks.Callback):
    """Writes a line an epoch to `metrics.jsonl`; scalars, masks and images to TensorBoard.

    Args:
        workdir: `anp_tf.workdir.Workdir` of the run.
        images: Float tensor [n, height, width, channels], pixels that are shown under attack if
            they have 1 to 4 channels; of a table [n, columns], which are not shown.
        labels: Integer tensor [n].
    """

    def __init__(self, workdir, images, labels):
        super().__init__()
        self.workdir = workdir
        self.images = images
        self.labels = labels
        self.writer = None

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.workdir.tensorboard))

    def on_epoch_end(self, epoch, logs=None):
        step = int(self.model.optimizer.iterations.numpy())
        values = {name: float(value) for name, value in logs.items()}
        self.workdir.log_epoch({"epoch": epoch + 1, "step": step, **values})
        with self.writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            for mask in self.model.masks:
                tf.summary.histogram(f"expected_mask/{mask.name}", mask.inference_mask())
            if self.model.validation_attack is not None and self._can_be_shown():
                tf.summary.image("adversarial", self._adversarial(), max_outputs=len(self.images))
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.close()

    def _can_be_shown(self):
        return len(self.images.shape) == 4 and self.images.shape[-1] <= MOST_CHANNELS

    def _adversarial(self):
        model = self.model
        with given_masks(inference_masks(model.masks)):
            seed = tf.constant([model.seed, 0])
            return model.validation_attack(model.network, self.images, self.labels, seed=seed)
