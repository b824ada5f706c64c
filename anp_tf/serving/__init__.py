"""Networks in the forms that are deployed: SavedModels for TensorFlow Serving, LiteRT, ONNX."""

from anp_tf.serving.litert import export_litert, litert_content, litert_network
from anp_tf.serving.micro import Micro, export_micro
from anp_tf.serving.onnx import export_onnx
from anp_tf.serving.saved_model import (
    export_saved_model,
    saved_model_bytes,
)
from anp_tf.serving.server_config import write_server_config
from anp_tf.serving.versions import checked_version, latest_version, versions

__all__ = [
    "export_litert",
    "export_micro",
    "export_onnx",
    "export_saved_model",
]
