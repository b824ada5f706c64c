"""A convolution of few channels and the max-pooling after it, as one operation."""

import tensorflow as tf

FEW = 3  # channels at most of what this is faster for


def pooled_convolution(x, kernel, bias):
    """`max_pool(conv(x) + bias)` of 2x2 windows, with a cheap gradient in `x`.

    Convolution kernels are slow where an image has one channel or three, above all in the gradient,
    and a quarter of what pooling passes back is not 0. Here the image is cut into blocks, the
    pixels of a block being channels. One convolution of the blocks for each of the four places of
    a pooling window gives the outputs at that place; the maximum of the four is taken by elements.
    It does up to three times the multiplications, and takes a fraction of the time on CPUs.

    Args:
        x: Tensor [batch, height, width, channels], padded if it is to be. Height and width are
            static, and of an even number of outputs.
        kernel: Tensor [rows, columns, channels, filters].
        bias: Tensor [filters], or None.

    Returns:
        Tensor [batch, (height - rows + 1) / 2, (width - columns + 1) / 2, filters]. Of equal
        outputs the gradient goes to the first, row by row.
    """
    sizes = [x.shape[axis] - kernel.shape[axis - 1] + 1 for axis in (1, 2)]
    side = _block(kernel.shape[:2], sizes)
    # A block of outputs needs a patch of so many blocks of pixels.
    spans = [-(-(side + kernel.shape[axis] - 1) // side) for axis in (0, 1)]
    missing = [
        (size // side + span - 1) * side - x.shape[axis]
        for axis, size, span in zip((1, 2), sizes, spans, strict=True)
    ]
    if any(more > 0 for more in missing):
        x = tf.pad(x, [[0, 0], *([0, max(0, more)] for more in missing), [0, 0]])
    if any(more < 0 for more in missing):
        x = x[:, : x.shape[1] + min(0, missing[0]), : x.shape[2] + min(0, missing[1])]
    blocks = tf.nn.space_to_depth(x, side)
    places = [
        tf.nn.conv2d(blocks, _block_kernel(kernel, side, spans, row, column), 1, "VALID")
        for row in (0, 1)
        for column in (0, 1)
    ]
    largest = tf.maximum(tf.maximum(*places[:2]), tf.maximum(*places[2:]))
    if side > 2:
        largest = tf.nn.depth_to_space(largest, side // 2)
    return largest if bias is None else tf.nn.bias_add(largest, bias)


def _block(kernel_sizes, sizes):
    """Side of the blocks: even, dividing the outputs, and best such that a patch is 2 blocks."""
    side = max(kernel_sizes) - 1
    fits = side > 2 and side % 2 == 0 and all(size % side == 0 for size in sizes)
    return side if fits else 2


def _block_kernel(kernel, side, spans, row, column):
    """The kernel that maps blocks to the outputs at one place of the pooling windows of a block.

    Shape [*spans, side² channels, (side/2)² filters]; the filters are in `depth_to_space`'s order.
    """
    rows, columns, channels, filters = kernel.shape
    height, width = (span * side for span in spans)
    shifted = []
    for top in range(row, side, 2):
        for left in range(column, side, 2):
            below, right = height - rows - top, width - columns - left
            shifted.append(tf.pad(kernel, [[top, below], [left, right], [0, 0], [0, 0]]))
    stacked = tf.stack(shifted, axis=3)
    stacked = tf.reshape(
        stacked, [spans[0], side, spans[1], side, channels * len(shifted) * filters]
    )
    stacked = tf.transpose(stacked, [0, 2, 1, 3, 4])
    return tf.reshape(stacked, [*spans, side * side * channels, len(shifted) * filters])
