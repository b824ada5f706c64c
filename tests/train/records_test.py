"""What a run writes down after each epoch."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from anp_tf.attacks import FGSM
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.train.records import Records
from anp_tf.workdir import Workdir


def write(path, logs, attack=None, steps=(4, 8), channels=1):
    """Records of a masked network after epochs with these logs, read back."""
    shape = (28, 28, channels)
    network = lenet5_caffe(
        lambda name: BetaBernoulliDropout(name=name), input_shape=shape, width_multiplier=0.1
    )
    model = types.SimpleNamespace(
        network=network,
        masks=mask_layers(network),
        validation_attack=attack,
        optimizer=types.SimpleNamespace(iterations=keras.Variable(0, dtype="int64")),
        seed=0,
    )
    workdir = Workdir(path)
    images = tf.fill([3, *shape], 0.5)
    records = Records(workdir, images, tf.constant([1, 2, 3]))
    records.set_model(model)
    records.on_train_begin()
    for epoch, step in enumerate(steps):
        model.optimizer.iterations.assign(step)
        records.on_epoch_end(epoch, logs)
    records.on_train_end()
    events = event_accumulator.EventAccumulator(str(workdir.tensorboard))
    events.Reload()
    tensors = {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
    return workdir.epochs(), tensors


LOGS = {"loss": 1.5, "kl": np.float32(0.1), "accuracy": keras.ops.convert_to_tensor(0.25)}


def test_metrics_are_plain_numbers_in_full_precision(tmp_path):
    records, _ = write(tmp_path, LOGS)
    for epoch, record in enumerate(records, 1):
        expected = {"loss": 1.5, "kl": float(np.float32(0.1)), "accuracy": 0.25}
        assert record == {"epoch": epoch, "step": 4 * epoch, **expected}
        assert list(record)[:2] == ["epoch", "step"]


def test_tensorboard_has_the_same_scalars_at_the_steps(tmp_path):
    records, tensors = write(tmp_path, LOGS)
    for name in LOGS:
        steps, values = zip(*tensors[name], strict=True)
        assert steps == (4, 8)
        np.testing.assert_array_equal(values, np.float32([r[name] for r in records]))


def test_histograms_are_of_the_expected_masks(tmp_path):
    _, tensors = write(tmp_path, LOGS)
    masks = [name for name in tensors if name.startswith("expected_mask/")]
    assert len(masks) == 4
    (_, first), _ = tensors["expected_mask/conv2_mask"]
    (left, right, count), *_ = first[first[:, 2] > 0]
    start = BetaBernoulliDropout()
    start.build((None, 1))
    assert left <= float(start.expected()[0]) <= right
    assert count == 5


def test_images_are_adversarial(tmp_path):
    _, tensors = write(tmp_path, LOGS, FGSM(epsilon=0.1))
    (_, (width, height, *images)), _ = tensors["adversarial"]
    assert (int(width), int(height), len(images)) == (28, 28, 3)
    for image in images:
        pixels = tf.io.decode_png(image).numpy() / 255
        changes = np.abs(pixels - 0.5)
        assert changes.max() <= 0.1 + 1 / 255
        assert np.mean(changes > 0.09) > 0.1


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_images_are_shown_where_they_can_be(tmp_path, channels):
    records, tensors = write(tmp_path, LOGS, FGSM(epsilon=0.1), channels=channels)
    assert len(records) == 2
    assert ("adversarial" in tensors) == (channels <= 4)


def test_no_images_where_nothing_is_attacked(tmp_path):
    _, tensors = write(tmp_path, LOGS)
    assert "adversarial" not in tensors
