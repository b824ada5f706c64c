"""The networks of `keras.applications` and keras-hub, the smallest of each family, untrained."""

import functools
import importlib.util
import math

import keras

from anp_tf.pruning import Handler, register_handler

ZOO_CLASSES = 10
IMAGE_SIDE = 32
LEAST_SIDES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
APPLICATIONS = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2"),
    *("InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50"),
    *("ResNet50V2", "VGG16", "Xception"),
)
BACKBONES = {
    "CSPNet": {  # the first stages of CSPDarkNet-53
        "stem_filters": 32,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2, 8],
        "stackwise_strides": [2, 2, 2],
        "stackwise_num_filters": [64, 128, 256],
        "expand_ratio": [2.0, 1.0, 1.0],
        "bottle_ratio": [0.5, 1.0, 1.0],
        "block_ratio": [1.0, 0.5, 0.5],
        "down_growth": True,
        "block_type": "dark_block",
        "stage_type": "csp",
    },
    "DenseNet": {"stackwise_num_repeats": [6, 12, 24, 16]},
    "EfficientNet": {  # B0
        "stackwise_width_coefficients": [1.0] * 7,
        "stackwise_depth_coefficients": [1.0] * 7,
        "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
        "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
        "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
        "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
        "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
        "stackwise_squeeze_and_excite_ratios": [0.25] * 7,
        "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
        "stackwise_block_types": ["v1"] * 7,
    },
    "MobileNet": {  # of the class's example
        "stackwise_expansion": [[40, 56], [64, 144, 144], [72, 72], [144, 288, 288]],
        "stackwise_num_blocks": [2, 3, 2, 3],
        "stackwise_num_filters": [[16, 16], [24, 24, 24], [24, 24], [48, 48, 48]],
        "stackwise_kernel_size": [[3, 3], [5, 5, 5], [5, 5], [5, 5, 5]],
        "stackwise_num_strides": [[2, 1], [2, 1, 1], [1, 1], [2, 1, 1]],
        "stackwise_se_ratio": [[None] * 2, [0.25] * 3, [0.3] * 2, [0.3, 0.25, 0.25]],
        "stackwise_activation": [["relu"] * 2, *(["hard_swish"] * n for n in (3, 2, 3))],
        "stackwise_padding": [[1, 1], [2, 2, 2], [2, 2], [2, 2, 2]],
        "output_num_filters": 288,
        "input_activation": "hard_swish",
        "output_activation": "hard_swish",
        "input_num_filters": 16,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "last_layer_filter": 1024,
    },
    "ResNet": {
        "input_conv_filters": [64],
        "input_conv_kernel_sizes": [7],
        "stackwise_num_filters": [64, 128, 256, 512],
        "stackwise_num_blocks": [2, 2, 2, 2],
        "stackwise_num_strides": [1, 2, 2, 2],
        "block_type": "basic_block",
    },
    "ViT": {
        "patch_size": 8,
        "num_layers": 4,
        "num_heads": 3,
        "hidden_dim": 96,
        "mlp_dim": 192,
        "data_format": "channels_last",
    },
}


def zoo():
    """Dict from the name of a network to the function that makes it, from pixels to logits.

    The networks of keras-hub are missing where it is not installed.
    """
    found = {name: functools.partial(_application, name) for name in APPLICATIONS}
    if importlib.util.find_spec("keras_hub") is not None:
        found |= {f"{name}Backbone": functools.partial(_backbone, name) for name in BACKBONES}
    return found


def _application(name):
    side = LEAST_SIDES.get(name, IMAGE_SIDE)
    options = {}
    if name.startswith(("ConvNeXt", "EfficientNetV2", "MobileNetV3")):
        options["include_preprocessing"] = False  # of pixels in [0, 255]
    return getattr(keras.applications, name)(
        input_shape=(side, side, 3),
        weights=None,
        classes=ZOO_CLASSES,
        classifier_activation=None,
        **options,
    )


def _backbone(name):
    import keras_hub

    shape = "input_shape" if name == "EfficientNet" else "image_shape"
    backbone = getattr(keras_hub.models, f"{name}Backbone")(
        **{shape: (IMAGE_SIDE, IMAGE_SIDE, 3)}, **BACKBONES[name]
    )
    if name == "ViT":
        register_handler(type(backbone.get_layer("vit_patching_and_embedding")), _Patches())
    x = backbone.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    elif len(x.shape) == 3:
        x = x[:, 0]  # the class token's features
    return keras.Model(backbone.input, keras.layers.Dense(ZOO_CLASSES, name="logits")(x), name=name)


class _Patches(Handler):
    """Of keras-hub's ViT, a layer with weights of its own, which is kept as it is."""

    def multiply_adds(self, node):
        layer = node.layer
        return layer.num_patches * math.prod(layer.patch_embedding.kernel.shape)
