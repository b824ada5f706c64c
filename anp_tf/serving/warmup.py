"""The requests that TensorFlow Serving makes of a new version before others may."""

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from anp_tf.serving.signatures import BYTES, CLASSIFY, PREDICT

PATH = "assets.extra/tf_serving_warmup_requests"


def predict_request(pixels, name=""):
    """A Predict request of `serving_default` for images [batch, ...] in [0, 1].

    Args:
        pixels: Float array.
        name: The model's name on the server.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, PREDICT
    request.inputs["pixels"].CopyFrom(tf.make_tensor_proto(np.asarray(pixels, np.float32)))
    return request


def bytes_request(files, name=""):
    """A Predict request of `bytes` for PNG or JPEG files, a list of bytes."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, BYTES
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files, tf.string))
    return request


def classify_request(pixels, name=""):
    """A Classify request for images, as for `predict_request`."""
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = name, CLASSIFY
    for image in np.asarray(pixels, np.float32):
        example = request.input.example_list.examples.add()
        example.features.feature["pixels"].float_list.value.extend(image.ravel())
    return request


def write_warmup(directory, pixels, signatures):
    """Writes warm-up requests into the folder of a SavedModel: of one image, and of all.

    Args:
        directory: `pathlib.Path` of the SavedModel.
        pixels: Float array [images, ...] in [0, 1].
        signatures: Names of the signatures to ask.
    """
    path = directory / PATH
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch in (pixels[:1], pixels):
            for log in _logs(batch, signatures):
                writer.write(log.SerializeToString())


def _logs(pixels, signatures):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(pixels))
    yield log
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.CopyFrom(classify_request(pixels))
    yield log
    if BYTES in signatures:
        images = np.rint(255 * np.asarray(pixels)).astype(np.uint8)
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(
            bytes_request([tf.io.encode_png(image).numpy() for image in images])
        )
        yield log
