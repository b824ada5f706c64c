"""The network for bounds: its shapes and masks."""

from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import strided_cnn


def test_parameters_and_masks():
    network = strided_cnn(lambda name: UnitMask(name=name))
    assert [mask.units for mask in mask_layers(network)] == [32, 64, 4096, 256]
    convs = (16 * 3 + 1) * 32 + (16 * 32 + 1) * 64
    denses = (8 * 8 * 64 + 1) * 256 + (256 + 1) * 10
    assert strided_cnn().count_params() == convs + denses
    small = strided_cnn(input_shape=(28, 28, 1), num_classes=3, width_multiplier=0.01)
    assert small.output_shape == (None, 3)
    assert small.get_layer("conv2").output.shape[1:] == (7, 7, 1)
