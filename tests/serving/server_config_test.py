"""The files that TensorFlow Serving is started with."""

import re

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from anp_tf.serving import write_server_config


def test_files(tmp_path):
    write_server_config(tmp_path, "mnist")
    assert {path.name for path in tmp_path.iterdir()} == {"models.config", "batching.config"}
    text = (tmp_path / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path) == ("mnist", "/models/mnist")
    assert entry.model_platform == "tensorflow"
    batching = re.findall(r"(\w+) \{ value: (\d+) \}", (tmp_path / "batching.config").read_text())
    assert dict(batching).keys() == {
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
