"""A convolution of few channels and the max-pooling after it, as one operation."""

import tensorflow as tf

FEW = 3  # channels at most of what this is faster for


def pooled_convolution(x, kernel, bias, of_blocks=None):
    """`max_pool(conv(x) + bias)` of 2x2 windows, with a cheap gradient in `x`.

    Convolution kernels are slow where an image has one channel or three, above all in the gradient,
    and a quarter of what pooling passes back is not 0. Here the image is cut into blocks, the
    pixels of a block being channels. One convolution of the blocks gives the outputs at each of the
    four places of a pooling window; the maximum of the four is taken by elements.
    It does up to three times the multiplications, and takes a fraction of the time on CPUs.

    Args:
        x: Tensor [batch, height, width, channels], padded if it is to be. Height and width are
            static, and of an even number of outputs.
        kernel: Tensor [rows, columns, channels, filters].
        bias: Tensor [filters], or None.
        of_blocks: `kernel_of_blocks(kernel, [height, width])`, if it was computed before, such as
            outside of a loop.

    Returns:
        Tensor [batch, (height - rows + 1) / 2, (width - columns + 1) / 2, filters]. Of equal
        outputs the gradient goes to the first, row by row.
    """
    height, width = x.shape[1:3]
    if of_blocks is None:
        of_blocks = kernel_of_blocks(kernel, (height, width))
    side, sizes = _block(kernel.shape, (height, width))
    missing = [
        (size // side + span - 1) * side - has
        for has, size, span in zip((height, width), sizes, of_blocks.shape[:2], strict=True)
    ]
    if any(more > 0 for more in missing):
        x = tf.pad(x, [[0, 0], *([0, max(0, more)] for more in missing), [0, 0]])
    if any(more < 0 for more in missing):
        x = x[:, : height + min(0, missing[0]), : width + min(0, missing[1])]
    largest = _largest(tf.nn.conv2d(_in_blocks(x, side), of_blocks, 1, "VALID"))
    if side > 2:
        largest = _out_of_blocks(largest, side // 2)
    return largest if bias is None else tf.nn.bias_add(largest, bias)


def kernel_of_blocks(kernel, size):
    """The kernel that maps blocks of pixels to the outputs at the four places of pooling windows.

    Args:
        kernel: Tensor [rows, columns, channels, filters].
        size: Pair of integers, height and width of the images.

    Returns:
        Tensor [rows, columns, channels of a block, filters of a block].
    """
    side, _ = _block(kernel.shape, size)
    # A block of outputs needs a patch of so many blocks of pixels.
    spans = [-(-(side + extent - 1) // side) for extent in kernel.shape[:2]]
    places = [
        _block_kernel(kernel, side, spans, row, column) for row in (0, 1) for column in (0, 1)
    ]
    return tf.concat(places, -1)


@tf.custom_gradient
def _largest(outputs):
    """The maxima of the four quarters of the channels; of equal ones the first has the gradient."""
    shape = outputs.shape
    largest = tf.reduce_max(tf.reshape(outputs, [-1, *shape[1:3], 4, shape[3] // 4]), 3)

    def gradient(upstream):
        *places, _ = tf.split(outputs, 4, -1)
        shares = []
        for place in places:
            shares.append(upstream * tf.cast(tf.equal(place, largest), upstream.dtype))
            upstream -= shares[-1]
        return tf.concat([*shares, upstream], -1)

    return largest, gradient


def _in_blocks(x, side):
    """`tf.nn.space_to_depth`, which takes three times as long."""
    rows, columns = (size // side for size in x.shape[1:3])
    parts = tf.reshape(x, [-1, rows, side, columns, side * x.shape[3]])
    return tf.reshape(
        tf.transpose(parts, [0, 1, 3, 2, 4]), [-1, rows, columns, side**2 * x.shape[3]]
    )


def _out_of_blocks(x, side):
    """`tf.nn.depth_to_space`, likewise."""
    rows, columns, depth = x.shape[1:]
    parts = tf.reshape(x, [-1, rows, columns, side, depth // side])
    shape = [-1, rows * side, columns * side, depth // side**2]
    return tf.reshape(tf.transpose(parts, [0, 1, 3, 2, 4]), shape)


def _block(kernel_shape, size):
    """Side of the blocks: even, dividing the outputs, and best such that a patch is 2 blocks.

    And the height and width of the outputs before pooling.
    """
    sizes = [has - extent + 1 for has, extent in zip(size, kernel_shape[:2], strict=True)]
    side = max(kernel_shape[:2]) - 1
    fits = side > 2 and side % 2 == 0 and all(each % side == 0 for each in sizes)
    return (side if fits else 2), sizes


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
