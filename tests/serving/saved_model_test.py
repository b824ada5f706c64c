"""Exported networks are complete, numbered, and load where anp_tf is not installed."""

import io
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from anp_tf.layers import BetaBernoulliDropout
from anp_tf.methods import Standard
from anp_tf.models import lenet5_caffe
from anp_tf.serving import export_litert, export_onnx, export_saved_model, saved_model_bytes

# Both ways to load a SavedModel; the second is the one of TensorFlow Serving.
LOAD = """
import sys
sys.modules["anp_tf"] = sys.modules["keras"] = None  # an import raises ImportError
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
requests, path = np.load(sys.argv[1], allow_pickle=True), sys.argv[2]
results = {}
for name, function in tf.saved_model.load(path).signatures.items():
    (request,) = function.structured_input_signature[1]
    for key, value in function(**{request: tf.constant(requests[request])}).items():
        results[f"{name}/{key}"] = value.numpy()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    for name, signature in meta.signature_def.items():
        if name.startswith("__"):
            continue
        results[f"{name}/method"] = signature.method_name
        ((request, tensor),) = signature.inputs.items()
        outputs = {key: info.name for key, info in signature.outputs.items()}
        answers = session.run(outputs, {tensor.name: requests[request]})
        results |= {f"session/{name}/{key}": value for key, value in answers.items()}
assert not [name for name in sys.modules if name.startswith(("anp_tf.", "keras."))]
np.savez(sys.argv[3], **results)
"""
NAMES = ["zero", "one", *"23456789"]


@pytest.fixture(scope="module", autouse=True)
def graphs_are_optimized():
    """As where they are served, unlike those of other tests."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module")
def exported(slimmed, images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    return export_saved_model(slimmed, directory, class_names=NAMES, warmup_images=images)


@pytest.fixture(scope="module")
def expected(masked, images):
    logits = np.asarray(masked(images), np.float64)
    return logits, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def serialized(pixels):
    """Images as serialized `tf.train.Example`s."""
    values = [tf.train.FloatList(value=image.ravel()) for image in pixels]
    features = [{"pixels": tf.train.Feature(float_list=value)} for value in values]
    features = [tf.train.Features(feature=feature) for feature in features]
    return [tf.train.Example(features=feature).SerializeToString() for feature in features]


def png(pixels):
    """Images as PNG files."""
    return [tf.io.encode_png(np.rint(255 * image).astype(np.uint8)).numpy() for image in pixels]


def test_loads_where_neither_anp_tf_nor_keras_is_installed(exported, expected, images, tmp_path):
    files = [str(tmp_path / "requests.npz"), str(exported), str(tmp_path / "results.npz")]
    requests = {"inputs": serialized(images), "image_bytes": png(images)}
    requests = {name: np.array(value, object) for name, value in requests.items()}
    np.savez(files[0], pixels=images, **requests)
    subprocess.run([sys.executable, "-I", "-c", LOAD, *files], cwd=tmp_path, check=True)
    logits, probabilities = expected
    with np.load(files[2], allow_pickle=True) as results:
        for prefix in ("", "session/"):
            for signature in ("serving_default", "bytes"):
                answer = f"{prefix}{signature}"
                np.testing.assert_allclose(results[f"{answer}/logits"], logits, atol=1e-5)
                probability = results[f"{answer}/probabilities"]
                np.testing.assert_allclose(probability, probabilities, atol=1e-5)
            scores = results[f"{prefix}classify/scores"]
            np.testing.assert_allclose(scores, probabilities, atol=1e-5)
            classes = results[f"{prefix}classify/classes"]
            assert classes.tolist() == [[name.encode() for name in NAMES]] * len(images)
        assert results["classify/method"] == "tensorflow/serving/classify"
        assert results["serving_default/method"] == "tensorflow/serving/predict"
        assert results["bytes/method"] == "tensorflow/serving/predict"
        assert len(results) == 2 * 6 + 3


def test_signatures(exported):
    signatures = tf.saved_model.load(exported).signatures
    inputs = {
        "serving_default": {"pixels": tf.TensorSpec((None, 28, 28, 1), tf.float32, name="pixels")},
        "classify": {"inputs": tf.TensorSpec([None], tf.string, name="inputs")},
        "bytes": {"image_bytes": tf.TensorSpec([None], tf.string, name="image_bytes")},
    }
    assert {name: f.structured_input_signature[1] for name, f in signatures.items()} == inputs
    scores = ([None, 10], tf.float32)
    for name in ("serving_default", "bytes"):
        assert outputs_of(signatures[name]) == {"logits": scores, "probabilities": scores}
    outputs = {"classes": ([None, 10], tf.string), "scores": scores}
    assert outputs_of(signatures["classify"]) == outputs


def outputs_of(signature):
    items = signature.structured_outputs.items()
    return {name: (spec.shape.as_list(), spec.dtype) for name, spec in items}


def test_classes_are_numbers_by_default(slimmed, images, tmp_path):
    path = export_saved_model(slimmed, tmp_path)
    classify = tf.saved_model.load(path).signatures["classify"]
    classes = classify(inputs=tf.constant(serialized(images[:2])))["classes"].numpy()
    assert classes.tolist() == [[str(label).encode() for label in range(10)]] * 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 255.0])
def test_pixels_out_of_range_are_answered_by_an_error(exported, images, value):
    signatures = tf.saved_model.load(exported).signatures
    pixels = images.copy()
    pixels[3, 5, 7] = value
    message = r"`pixels` must be finite numbers in \[0, 1\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](pixels=tf.constant(pixels))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["classify"](inputs=tf.constant(serialized(pixels)))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            tf.io.encode_png(np.zeros((28, 27, 1), np.uint8)).numpy(),
            r"\[28,27,1\] is not compatible with expected shape \[28,28,1\]",
        ),
        (b"not an image", "Unknown image file format"),
        (b"", "image"),
    ],
    ids=["size", "text", "empty"],
)
def test_files_that_are_no_such_image_are_answered_by_an_error(exported, images, file, message):
    function = tf.saved_model.load(exported).signatures["bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        function(image_bytes=tf.constant([*png(images[:1]), file]))


def test_requests_of_other_shapes_are_answered_by_an_error(exported, images):
    signatures = tf.saved_model.load(exported).signatures
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels"):
        signatures["classify"](inputs=tf.constant(serialized(images[:, :-1])))
    message = r"pixels \[5,27,28,1\] is not compatible with expected shape \[\?,28,28,1\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        signatures["serving_default"](pixels=tf.constant(images[:, :-1]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected to be a float tensor"):
        signatures["serving_default"](pixels=tf.constant(images.astype(np.float64)))


def test_jpeg_files(slimmed, images, exported):
    files = [tf.io.encode_jpeg(np.uint8(255 * image), quality=100).numpy() for image in images]
    read = [np.asarray(PIL.Image.open(io.BytesIO(file)), np.float32) for file in files]
    pixels = np.stack(read)[..., None] / 255
    logits = tf.saved_model.load(exported).signatures["bytes"](image_bytes=files)["logits"]
    np.testing.assert_allclose(logits, slimmed(pixels), atol=1e-5)


FORMS = {
    "JPEG": {"quality": 90},
    "progressive JPEG": {"quality": 75, "progressive": True, "subsampling": 0},
    "PNG": {},
}


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_files_have_the_pixels_that_pillow_reads(channels, mode, tmp_path):
    shape = (14, 11, channels)
    inputs = keras.Input(shape)
    network = keras.Model(inputs, keras.layers.Flatten()(inputs))
    path = export_saved_model(network, tmp_path)
    waves = np.random.default_rng(0).normal(size=(14, 11, 3)).cumsum(0).cumsum(1)
    image = PIL.Image.fromarray((8 * waves % 256).astype(np.uint8))
    files, expected = [], []
    for written in (image, image.convert("L")):
        for form, options in FORMS.items():
            file = io.BytesIO()
            written.save(file, form.split()[-1], **options)
            files.append(file.getvalue())
            expected.append(np.reshape(PIL.Image.open(file).convert(mode), -1))
    logits = tf.saved_model.load(path).signatures["bytes"](image_bytes=tf.constant(files))["logits"]
    np.testing.assert_array_equal(np.rint(255 * logits.numpy()), expected)


def test_features_that_are_no_image(tmp_path, tiny):
    signatures = tf.saved_model.load(export_saved_model(tiny, tmp_path)).signatures
    assert list(signatures) == ["serving_default", "classify"]
    pixels = np.random.default_rng(0).random((2, 4), np.float32)
    scores = signatures["classify"](inputs=tf.constant(serialized(pixels)))["scores"]
    np.testing.assert_allclose(scores, tf.nn.softmax(tiny(pixels)), atol=1e-6)


def test_warmup_requests_are_answered(exported, expected):
    """The file is read with the protos of TensorFlow Serving, and each request replayed."""
    signatures = tf.saved_model.load(exported).signatures
    records = tf.data.TFRecordDataset(str(exported / "assets.extra/tf_serving_warmup_requests"))
    logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in records]
    asked = []
    for log in logs:
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        name = request.model_spec.signature_name
        if kind == "classify_log":
            examples = request.input.example_list.examples
            inputs = {"inputs": tf.constant([e.SerializeToString() for e in examples])}
        else:
            inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            inputs = {key: tf.constant(value) for key, value in inputs.items()}
        answer = signatures[name](**inputs)
        scores = answer["scores" if name == "classify" else "probabilities"]
        np.testing.assert_allclose(scores, expected[1][: len(scores)], atol=1e-5)
        asked.append((kind, name, len(scores)))
    one = [("predict_log", "serving_default"), ("classify_log", "classify")]
    one.append(("predict_log", "bytes"))
    assert asked == [(*request, count) for count in (1, 5) for request in one]


@pytest.mark.parametrize("names", [["a", "b"], "abc", 3])
def test_class_names_are_as_many_as_classes(tmp_path, tiny, names):
    with pytest.raises(ValueError, match="`class_names` must have a name for each of the 3 classe"):
        export_saved_model(tiny, tmp_path, class_names=names)
    assert list(tmp_path.iterdir()) == []


COLUMN = {"name": "a", "low": 0, "high": 2.5}
UNFIT_COLUMNS = {
    "three": [COLUMN] * 3,
    "none": [],
    "no range": [{"name": "a"}] * 4,
    "names": ["a", "b", "c", "d"],
    "a string": "abcd",
    "a number": 4,
    "words": [{**COLUMN, "low": "none"}] * 4,
    "NaN": [{**COLUMN, "high": np.nan}] * 4,
    "the wrong way round": [{**COLUMN, "low": 3}] * 4,
}


@pytest.mark.parametrize("columns", UNFIT_COLUMNS.values(), ids=UNFIT_COLUMNS)
def test_unfit_columns(tmp_path, tiny, columns):
    with pytest.raises(
        ValueError, match=r"`columns` must be .* network takes, \[4\]\. Received: c"
    ):
        export_saved_model(tiny, tmp_path, columns=columns)
    assert list(tmp_path.iterdir()) == []


def test_columns_of_a_network_of_images(tmp_path, slimmed):
    with pytest.raises(ValueError, match=r"`columns` must be .* network takes, \[28, 28, 1\]\."):
        export_saved_model(slimmed, tmp_path, columns=[COLUMN] * 28)
    assert list(tmp_path.iterdir()) == []


def test_class_names_are_written_as_text(tmp_path, tiny):
    path = export_saved_model(tiny, tmp_path, class_names=[7, np.int64(8), "nine"])
    classify = tf.saved_model.load(str(path)).signatures["classify"]
    classes = classify(inputs=tf.constant(serialized(np.zeros((1, 4)))))["classes"]
    assert classes.numpy().tolist() == [[b"7", b"8", b"nine"]]


def test_unfit_warmup_images(tmp_path, slimmed, unfit_images):
    with pytest.raises(ValueError, match=r"`warmup_images` must be floats \[images, 28, 28, 1\]"):
        export_saved_model(slimmed, tmp_path, warmup_images=unfit_images)
    assert list(tmp_path.iterdir()) == []


def test_the_weights_are_variables_and_stored_once(tmp_path):
    network = lenet5_caffe()
    path = export_saved_model(network, tmp_path)
    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    shapes = sorted(tuple(shape) for _, shape in stored if shape)
    assert shapes == sorted(tuple(weight.shape) for weight in network.weights)
    assert (path / "saved_model.pb").stat().st_size < 200_000
    size = saved_model_bytes(path)
    assert size == sum(file.stat().st_size for file in path.glob("**/*") if file.is_file())
    assert 4 * network.count_params() < size < 4 * network.count_params() + 250_000


def test_dropout_masks_and_batch_normalisation_are_in_inference_mode(tmp_path, images):
    x = inputs = keras.Input((28, 28, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = BetaBernoulliDropout(kl_weight=1.0, name="mask")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    network = keras.Model(inputs, keras.layers.Dense(10)(x))
    network.get_layer("mask").prune([1])
    before = [weight.copy() for weight in network.get_weights()]
    loaded = tf.saved_model.load(export_saved_model(network, tmp_path))
    serve = loaded.signatures["serving_default"]
    expected = network(images, training=False)
    for _ in range(2):  # neither random nor changed by being called
        np.testing.assert_allclose(serve(pixels=images)["logits"], expected, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    graph = serve.graph.as_graph_def()
    kinds = {node.op for node in graph.node}
    kinds |= {node.op for function in graph.library.function for node in function.node_def}
    assert "Conv2D" in kinds
    assert not [kind for kind in kinds if "Random" in kind or "Assign" in kind]


def test_half_precision_networks_return_float32(tmp_path, images):
    inputs = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10, dtype="mixed_bfloat16")(keras.layers.Flatten()(inputs))
    loaded = tf.saved_model.load(export_saved_model(keras.Model(inputs, outputs), tmp_path))
    results = loaded.signatures["serving_default"](pixels=images)
    assert results["logits"].dtype == results["probabilities"].dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(results["probabilities"], axis=1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def tiny():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def test_versions(tmp_path, tiny):
    directory = tmp_path / "a" / "b"
    assert export_saved_model(tiny, directory) == directory / "1"
    assert export_saved_model(tiny, str(directory), version=9) == directory / "9"
    (directory / ".tmp-40-1").mkdir()
    (directory / "notes").mkdir()
    (directory / "3.float32.tflite").touch()
    assert export_saved_model(tiny, directory) == directory / "10"
    assert export_saved_model(tiny, directory, version=2) == directory / "2"
    before = sorted(directory.rglob("*"))
    with pytest.raises(FileExistsError, match="9 exists"):
        export_saved_model(tiny, directory, version=9)
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize("version", [0, -1, 1.0, "3", True, 2**63])
def test_invalid_versions(tmp_path, tiny, version):
    with pytest.raises(ValueError, match="`version` must be an integer of at least 1"):
        export_saved_model(tiny, tmp_path / "models", version=version)
    assert not (tmp_path / "models").exists()


def test_a_failed_export_leaves_nothing(tmp_path, tiny, monkeypatch):
    save = tf.saved_model.save

    def fail(*args, **kwargs):
        save(*args, **kwargs)
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space"):
        export_saved_model(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def dense(inputs, activation=None, units=3, name=None):
    return keras.layers.Dense(units, activation, name=name)(keras.layers.Flatten()(inputs))


def softmax_by_hand(x):
    return keras.ops.exp(x) / keras.ops.sum(keras.ops.exp(x), axis=-1, keepdims=True)


def unfit(kind):
    """A network that is none from images to logits."""
    x = keras.Input((5, 4), name="first")
    inputs, outputs = {
        "two inputs": lambda: ([x, other := keras.Input((5, 4), name="second")], dense(x + other)),
        "two outputs": lambda: (x, [dense(x), keras.layers.Dense(2)(dense(x + 1))]),
        "named output": lambda: (x, {"logits": dense(x)}),
        "rank": lambda: (x, keras.layers.ReLU()(x)),
        "integers": lambda: (i := keras.Input((4,), dtype="int32", name="first"), dense(i)),
        "one class": lambda: (x, dense(x, units=1)),
        "softmax": lambda: (x, dense(x, "softmax", name="last")),
        "softmax layer": lambda: (x, keras.layers.Softmax(name="last")(dense(x))),
        "operation": lambda: (x, keras.ops.softmax(dense(x))),
        "tf.nn.softmax": lambda: (x, dense(x, tf.nn.softmax, name="last")),
        "Lambda": lambda: (x, keras.layers.Lambda(tf.nn.softmax, name="last")(dense(x))),
        "Lambda with an argument": lambda: (
            x,
            keras.layers.Lambda(tf.nn.softmax, arguments={"axis": 1}, name="last")(dense(x)),
        ),
        "Lambda of sigmoids": lambda: (x, keras.layers.Lambda(tf.sigmoid, name="last")(dense(x))),
        "operations": lambda: (x, softmax_by_hand(dense(x))),
        "sigmoids": lambda: (
            x,
            keras.layers.Activation("linear")(dense(x, "sigmoid", name="last")),
        ),
        "unknown size": lambda: (
            i := keras.Input((None, 4), name="first"),
            keras.layers.Dense(3)(keras.layers.GlobalMaxPooling1D()(i)),
        ),
    }[kind]()
    return keras.Model(inputs, outputs)


UNFIT = {
    "two inputs": r"inputs `first` float32 \[\?, 5, 4\], `second` float32 \[\?, 5, 4\]; outputs",
    "two outputs": r"outputs `\w+` float32 \[\?, 3\], `\w+` float32 \[\?, 2\]",
    "named output": r"Received: .* outputs `\w+` float32 \[\?, 3\] in a dict$",
    "rank": r"\[batch, classes\], the logits. Received: .* \[\?, 5, 4\]",
    "integers": r"one float input .* Received: inputs `first` int32 \[\?, 4\]",
    "one class": r"at least 2 classes. Received: .* float32 \[\?, 1\]",
    "softmax": "its last layer `last` ends in softmax: take it away",
    "softmax layer": "its last layer `last` ends in softmax",
    "operation": "ends in softmax",
    "tf.nn.softmax": "its last layer `last` ends in softmax",
    "Lambda": "its last layer `last` ends in softmax",
    "Lambda with an argument": "its last layer `last` ends in softmax",
    "Lambda of sigmoids": "its last layer `last` ends in sigmoid",
    "operations": "ends in softmax",
    "sigmoids": "its last layer `last` ends in sigmoid",
    "unknown size": r"the size of its images.*fixed shape. Received: .*\[\?, \?, 4\]",
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_is_no_network_from_images_to_logits(kind, tmp_path):
    network = unfit(kind)
    exports = [
        lambda: export_saved_model(network, tmp_path),
        lambda: export_litert(network, tmp_path / "a.tflite"),
        lambda: export_onnx(network, tmp_path / "a.onnx"),
    ]
    if kind != "unknown size":
        exports.append(lambda: Standard(network, num_examples=3))
    for export in exports:
        with pytest.raises(ValueError, match=UNFIT[kind]):
            export()
    assert list(tmp_path.iterdir()) == []


def test_bytes_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no saved_model.pb"):
        saved_model_bytes(tmp_path)
