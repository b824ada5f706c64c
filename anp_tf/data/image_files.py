"""Images in files: PNG, JPEG, BMP and GIF, read by Pillow when they are needed."""

import concurrent.futures
import dataclasses
import os
import pathlib
import warnings

import numpy as np
import PIL.Image

from anp_tf.data.errors import DataError, in_short

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF"}
GRAYSCALE = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
# No format packs more pixels than this into a byte, so a header that says so is wrong.
MOST_PIXELS_A_BYTE = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images of one size, each in a file of its own.

    It is indexed like an array `[n, height, width, channels]`: a slice, or an array of booleans or
    integers, selects files and reads nothing; `[:]` converted by `numpy.asarray` reads them.

    Args:
        paths: array `[n]` of the files' paths.
        size: pair `(height, width)`; an image of another size is resized when it is read.
        channels: 1 or 3.
    """

    paths: np.ndarray
    size: tuple[int, int]
    channels: int
    dtype = np.dtype(np.uint8)

    @property
    def shape(self):
        return (len(self.paths), *self.size, self.channels)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, which):
        return dataclasses.replace(self, paths=self.paths[which])

    def __array__(self, dtype=None, copy=None):
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def read(self, which):
        """The images at some indices, uint8 `[count, height, width, channels]`.

        Raises:
            DataError: a file cannot be read as an image; the message names it.
        """
        paths = self.paths[which]
        images = np.empty((len(paths), *self.size, self.channels), np.uint8)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for index, image in enumerate(pool.map(self._read, paths)):
                images[index] = image
        return images

    def _read(self, path):
        try:
            with _opened(path) as image:
                image = image.convert("L" if self.channels == 1 else "RGB")
                if image.size != self.size[::-1]:
                    image = image.resize(self.size[::-1], PIL.Image.Resampling.BILINEAR)
                return np.asarray(image).reshape(*self.size, self.channels)
        except DataError:
            raise
        except Exception as error:  # Pillow raises errors of many types for damaged files.
            raise DataError(f"{path} cannot be read as an image: {in_short(error)}") from error


def header(path):
    """What a file's header says: the size `(height, width)`, and whether it is grayscale.

    Raises:
        DataError: it is not a PNG, JPEG, BMP or GIF file, its pixels have more than 8 bits, or it
            claims more pixels than a file of its length can hold.
    """
    with _opened(path) as image:
        return image.size[::-1], image.mode in GRAYSCALE


def _opened(path):
    """The image in a file, whose pixels are not read yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(path, formats=sorted(set(FORMATS.values())))
    except Exception as error:  # Pillow raises errors of many types for damaged files.
        raise DataError(f"{path} cannot be read as an image: {in_short(error)}") from error
    width, height = image.size
    length = pathlib.Path(path).stat().st_size
    if width * height > MOST_PIXELS_A_BYTE * length:
        image.close()
        raise DataError(f"{path} is damaged: {width} x {height} pixels in {length} bytes")
    if image.mode not in (*GRAYSCALE, *COLOUR):
        image.close()
        raise DataError(
            f"{path} has pixels of the kind {image.mode}: expected grayscale or colour of 8 bits"
        )
    return image
