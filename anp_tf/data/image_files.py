"""Images in files: PNG, JPEG, BMP and GIF, read by Pillow when they are needed."""

import concurrent.futures
import os
import pathlib

import numpy as np
import PIL.ExifTags
import PIL.Image

from anp_tf.data.errors import DataError, in_short
from anp_tf.data.on_disk import OnDisk

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".gif": "GIF"}
GRAYSCALE = ("1", "L", "LA")
COLOUR = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
# No format packs more pixels than this into a byte, so a header that says so is wrong.
MOST_PIXELS_A_BYTE = 4096
TURNED = {  # how an image is brought upright, by its EXIF orientation
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


class ImageFiles(OnDisk):
    """Images of one size, each in a file of its own.

    `places` are the files' paths. When an image is read, it is turned upright by its EXIF
    orientation, and resized if it has another size.
    """

    dtype = np.dtype(np.uint8)

    def _read(self, places):
        images = np.empty((len(places), *self.example_shape), np.uint8)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for index, image in enumerate(pool.map(self._image, places)):
                images[index] = image
        return images

    def _image(self, path):
        height, width, channels = self.example_shape
        try:
            with _opened(path) as image:
                orientation = _orientation(image)
                image = image.convert("L" if channels == 1 else "RGB")
                if orientation in TURNED:
                    image = image.transpose(TURNED[orientation])
                if image.size != (width, height):
                    image = image.resize((width, height), PIL.Image.Resampling.BILINEAR)
                return np.asarray(image).reshape(self.example_shape)
        except DataError:
            raise
        except Exception as error:  # Pillow raises errors of many types for damaged files.
            raise DataError(f"{path} cannot be read as an image: {in_short(error)}") from error


def header(path):
    """What a file's header says: the size `(height, width)` upright, and whether it is grayscale.

    Raises:
        DataError: it is not a PNG, JPEG, BMP or GIF file, its pixels have more than 8 bits, or it
            claims more pixels than a file of its length can hold, or than Pillow allows.
    """
    with _opened(path) as image:
        size = image.size if _orientation(image) >= 5 else image.size[::-1]
        return size, image.mode in GRAYSCALE


def _orientation(image):
    """The EXIF orientation of an image whose pixels are not read yet; 1 where there is none."""
    if "exif" not in image.info:  # nor is it looked for behind the pixels
        return 1
    try:
        found = image.getexif().get(PIL.ExifTags.Base.Orientation)
    except Exception:  # Pillow raises errors of many types for damaged notes.
        return 1
    return found if found in TURNED else 1


def _opened(path):
    """The image in a file, whose pixels are not read yet."""
    try:
        image = PIL.Image.open(path, formats=sorted(set(FORMATS.values())))
    except Exception as error:  # Pillow raises errors of many types for damaged files.
        raise DataError(f"{path} cannot be read as an image: {in_short(error)}") from error
    width, height = image.size
    length = pathlib.Path(path).stat().st_size
    if width * height > MOST_PIXELS_A_BYTE * length:
        image.close()
        raise DataError(f"{path} is damaged: {width} x {height} pixels in {length} bytes")
    most = PIL.Image.MAX_IMAGE_PIXELS  # where Pillow warns alone; None: there is no limit
    if most is not None and width * height > most:
        image.close()
        raise DataError(f"{path} has {width} x {height} pixels: expected at most {most}")
    if image.mode not in (*GRAYSCALE, *COLOUR):
        image.close()
        raise DataError(
            f"{path} has pixels of the kind {image.mode}: expected grayscale or colour of 8 bits"
        )
    return image
