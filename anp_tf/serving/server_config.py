"""The files that `tensorflow_model_server` is started with."""

import os

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from anp_tf.files import atomic_file

MODELS, BATCHING = "models.config", "batching.config"
# The server's parameters have no published proto; their form is that of its documentation.
BATCHING_TEXT = """\
max_batch_size { value: 256 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: %d }
"""


def write_server_config(directory, name):
    """Writes `models.config` and `batching.config` beside the versions of a model.

    The server finds the model in `/models/<name>`, where the README's command mounts the folder.
    Requests are put together to batches of up to 256 images within 2 ms, and computed by as many
    threads as this machine has cores: numbers to tune.

    Args:
        directory: `pathlib.Path` of the versions.
        name: The model's name in requests.
    """
    config = model_server_config_pb2.ModelServerConfig()
    entry = config.model_config_list.config.add()
    entry.name, entry.base_path = name, f"/models/{name}"
    entry.model_platform = "tensorflow"
    texts = {MODELS: text_format.MessageToString(config), BATCHING: BATCHING_TEXT % os.cpu_count()}
    for file, text in texts.items():
        with atomic_file(directory / file) as temporary:
            temporary.write_text(text)
