"""Networks: functional Keras models from pixels in [0, 1] to logits."""

from anp_tf.models.latents import with_latents
from anp_tf.models.lenet import lenet5_caffe, lenet5_thresholds
from anp_tf.models.resnet import resnet18
from anp_tf.models.strided import strided_cnn
from anp_tf.models.substitute import substitute_network
from anp_tf.models.vgg import vgg16
from anp_tf.models.wide import wide_cnn

NETWORKS = {
    "lenet5_caffe": lenet5_caffe,
    "vgg16": vgg16,
    "resnet18": resnet18,
    "lenet5_thresholds": lenet5_thresholds,
    "strided_cnn": strided_cnn,
    "wide_cnn": wide_cnn,
}

__all__ = [
    "lenet5_caffe",
    "lenet5_thresholds",
    "resnet18",
    "strided_cnn",
    "vgg16",
    "wide_cnn",
]
