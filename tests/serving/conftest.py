"""A masked network, its slimmed form, and real images to ask them for."""

import keras
import numpy as np
import pytest

from anp_tf import data
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import slim


@pytest.fixture(scope="package")
def masked():
    """A small LeNet-5-Caffe with masks that prune a third of the units."""
    keras.utils.set_random_seed(0)
    model = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.2)
    rng = np.random.default_rng(0)
    for layer in mask_layers(model):
        layer.a_u.assign(rng.choice([-20.0, 1.0, 5.0], layer.units))
    return model


UNFIT_IMAGES = {
    "none": lambda images: images[:0],
    "empty list": lambda images: [],
    "another shape": lambda images: images[:, :-1],
    "one image": lambda images: images[0],
    "255": lambda images: 255 * images,
    "negative": lambda images: images - 0.5,
    "NaN": lambda images: np.where(images > 0.5, np.nan, images),
    "integers": lambda images: images.astype(np.uint8),
}


@pytest.fixture(params=UNFIT_IMAGES)
def unfit_images(request, images):
    """What is not some images, floats in [0, 1], of the network's shape."""
    return UNFIT_IMAGES[request.param](images)


@pytest.fixture(scope="package")
def slimmed(masked):
    return slim(masked)


@pytest.fixture(scope="package")
def images(small_data_dir):
    """Five test images of MNIST, float32 in [0, 1]."""
    examples = data.load("mnist", "test", small_data_dir).take(5)
    return examples.images.astype(np.float32) / 255
