"""Networks: functional Keras models from pixels in [0, 1] to logits."""

from anp_tf.models.latents import with_latents
from anp_tf.models.lenet import lenet5_caffe

NETWORKS = {"lenet5_caffe": lenet5_caffe}

__all__ = ["NETWORKS", "lenet5_caffe", "with_latents"]
