"""`fit` with what Keras users give it: weights, metrics, callbacks, labels and images of all kinds.

Losses and metrics are compared with NumPy.
"""

import logging

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

import anp_tf
from anp_tf.attacks import PGD
from anp_tf.layers import BetaBernoulliDropout
from anp_tf.methods import METHODS, AdversarialNeuralPruningVS, AdversarialTrainingVS, Trades

FEATURES, HIDDEN, CLASSES, LAMBDA = 6, 5, 3, 0.7
MOVE = 0.1 * np.where(np.arange(FEATURES) % 2, -1, 1).astype(np.float32)
EPOCHS = {"verbose": 0, "shuffle": False, "batch_size": 12}


def moved(network, x, y, seed=None, scale=1.0):
    """An attack whose images are known."""
    return x + MOVE


def data(n=12):
    """Pixels that `moved` leaves in [0, 1], of three decimals, and labels of all classes."""
    rng = np.random.default_rng(0)
    return rng.uniform(0.2, 0.8, (n, FEATURES)).round(3).astype(np.float32), np.arange(n) % CLASSES


def network(*mask):
    keras.utils.set_random_seed(3)
    hidden = keras.layers.Dense(HIDDEN, bias_initializer="normal")
    return keras.Sequential(
        [keras.Input((FEATURES,)), hidden, *mask, keras.layers.ReLU(), keras.layers.Dense(CLASSES)]
    )


def trained(method=AdversarialTrainingVS, rate=0.0, run_eagerly=True, **compile_arguments):
    """A method; a few eager steps take less time than to trace one."""
    model = method(
        network(), 12, attack=moved, weight_decay=0.0, vulnerability_weight=LAMBDA, seed=1
    )
    model.compile(keras.optimizers.SGD(rate), run_eagerly=run_eagerly, **compile_arguments)
    return model


def pruned(**options):
    attack = PGD(epsilon=0.1, step_size=0.1, steps=2)
    model = AdversarialNeuralPruningVS(network(BetaBernoulliDropout()), 12, attack, **options)
    model.compile("adam", "adam", run_eagerly=True)
    return model


def outputs(weights, x):
    """The latent features and the logits of a network, in NumPy."""
    w1, b1, w2, b2 = weights
    hidden = np.maximum(x @ w1 + b1, 0)
    return hidden, hidden @ w2 + b2


def cross_entropies(logits, y):
    return -scipy.special.log_softmax(logits, axis=-1)[np.arange(len(y)), y]


def weights_of(model):
    return [np.array(v, np.float64) for v in model.network.trainable_variables]


# Weights of examples.


def loss_by_hand(method, weights, x, y, counts):
    """Each example's loss times its weight, summed, over the size of the batch."""
    clean, logits = outputs(weights, x)
    other, other_logits = outputs(weights, x + MOVE)
    losses = (cross_entropies(logits, y) + 2 * cross_entropies(other_logits, y)) / 3
    losses += LAMBDA * np.abs(clean - other).mean(-1)
    if method is Trades:
        p, q = (scipy.special.softmax(values, -1) for values in (logits, other_logits))
        losses = cross_entropies(logits, y) + 6 * scipy.special.rel_entr(p, q).sum(-1)
    return np.sum(counts * losses) / len(y)


@pytest.mark.parametrize(
    ("method", "run_eagerly"), [(AdversarialTrainingVS, False), (Trades, True)]
)
def test_a_weighted_step_is_that_of_numpy(method, run_eagerly):
    x, y = data()
    counts = np.linspace(0, 3, len(y)).astype(np.float32)
    model = trained(method, rate=1.0, run_eagerly=run_eagerly)
    before = weights_of(model)
    model.fit(x, y, sample_weight=counts, **EPOCHS)
    for index, (value, after) in enumerate(zip(before, weights_of(model), strict=True)):
        gradient = np.empty_like(value)
        for entry in np.ndindex(value.shape):
            losses = []
            for sign in (1, -1):
                shifted = [v.copy() for v in before]
                shifted[index][entry] += sign * 1e-6
                losses.append(loss_by_hand(method, shifted, x, y, counts))
            gradient[entry] = (losses[0] - losses[1]) / 2e-6
        np.testing.assert_allclose(after, value - gradient, atol=2e-5)


@pytest.mark.parametrize("of_masks", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_example_of_weight_0_trains_nothing(of_masks):
    x, y = data()
    counts = np.repeat([2.0, 0.0], 6)
    results = []
    for others in (x[6:], 1 - x[6:]):
        model = pruned(seed=3) if of_masks else trained(rate=1.0)
        model.fit(np.concatenate([x[:6], others]), y, sample_weight=counts, **EPOCHS)
        results.append(weights_of(model))
    for value, other in zip(*results, strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


def test_weights_of_classes_are_weights_of_their_examples():
    x, y = data()
    of_class = {0: 0.5, 1: 3.0, 2: 1.0}
    by_class, by_example = trained(rate=1.0), trained(rate=1.0)
    history = by_class.fit(x, y, class_weight=of_class, **EPOCHS).history
    counts = np.array([of_class[label] for label in y])
    expected = by_example.fit(x, y, sample_weight=counts, **EPOCHS).history
    assert history == expected
    for value, other in zip(weights_of(by_class), weights_of(by_example), strict=True):
        np.testing.assert_array_equal(value, other)
    one_hot = trained(rate=1.0).fit(x, np.eye(3)[y], class_weight=of_class, **EPOCHS).history
    assert one_hot == expected


def test_losses_are_shown_weighted_and_accuracies_not():
    x, y = data()
    counts = np.linspace(0, 3, len(y))
    model = trained()
    shown = model.evaluate(x, y, sample_weight=counts, verbose=0, return_dict=True, batch_size=5)
    (clean, logits), (other, other_logits) = (outputs(weights_of(model), v) for v in (x, x + MOVE))
    expected = {
        "loss": np.mean(counts * cross_entropies(logits, y)),
        "adversarial_loss": np.mean(counts * cross_entropies(other_logits, y)),
        "accuracy": np.mean(logits.argmax(-1) == y),
        "adversarial_accuracy": np.mean(other_logits.argmax(-1) == y),
        "vulnerability": np.mean(np.abs(clean - other)),
    }
    shown = {name: float(value) for name, value in shown.items()}  # tensors in Keras 3.12
    assert shown == pytest.approx(expected, rel=1e-5)


# Metrics.


def top_logit(targets, logits):
    return tf.reduce_max(logits, axis=-1)


@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
def test_metrics_are_of_clean_and_of_adversarial_outputs(run_eagerly):
    x, y = data()
    counts = np.linspace(0, 3, len(y))
    entropy = keras.metrics.SparseCategoricalCrossentropy(name="ce", from_logits=True)
    model = trained(
        run_eagerly=run_eagerly,
        metrics=["accuracy", top_logit, entropy],
        weighted_metrics=["sparse_categorical_accuracy", "accuracy"],
    )
    history = model.fit(
        x, y, sample_weight=counts, validation_data=(x, y), epochs=2, **EPOCHS
    ).history
    for prefix, pixels in (("", x), ("adversarial_", x + MOVE)):
        _, logits = outputs(weights_of(model), pixels)
        right = logits.argmax(-1) == y
        expected = {
            "top_logit": logits.max(-1).mean(),
            "ce": cross_entropies(logits, y).mean(),
            "accuracy": right.mean(),
            "sparse_categorical_accuracy": np.sum(right * counts) / np.sum(counts),
            "weighted_accuracy": np.sum(right * counts) / np.sum(counts),
        }
        for name, value in expected.items():
            assert history[f"{prefix}{name}"] == pytest.approx([value] * 2, rel=1e-5), name
        assert history[f"val_{prefix}ce"] == pytest.approx([expected["ce"]] * 2, rel=1e-5)
        assert history[f"val_{prefix}sparse_categorical_accuracy"][0] == pytest.approx(right.mean())


def test_metrics_see_labels_as_they_are_given():
    x, y = data()
    metrics = [keras.metrics.CategoricalAccuracy(), keras.metrics.AUC(name="auc")]
    model = trained(metrics=metrics, weighted_metrics=["accuracy"])
    shown = model.evaluate(x, np.eye(3)[y], verbose=0, return_dict=True)
    assert shown["categorical_accuracy"] == shown["accuracy"] == shown["weighted_accuracy"]
    assert {"auc", "adversarial_auc"} <= shown.keys()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([keras.metrics.MeanSquaredError(name="loss")], "the name 'loss' is taken"),
        (["no_such_metric"], "`metrics` must have Keras metrics"),
        ([3], "`metrics` must have Keras metrics"),
    ],
)
def test_metrics_that_cannot_be_shown(metrics, message):
    with pytest.raises(ValueError, match=message):
        trained(metrics=metrics)


# Validation and callbacks.


def test_validation_is_attacked_by_default():
    attack = PGD(epsilon=0.2, step_size=0.1, steps=2)
    model = METHODS["at"](network(), 12, attack=attack)
    found = model.validation_attack
    assert (found.epsilon, found.steps, found.step_size) == (0.2, 10, pytest.approx(0.05))
    assert METHODS["standard"](network(), 12).validation_attack is None
    assert METHODS["at"](network(), 12, attack, validation_attack=None).validation_attack is None


class SetAccuracy(keras.callbacks.Callback):
    """Has the validation of each epoch show numbers that are known; it comes first."""

    def __init__(self, **values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: value[epoch] for name, value in self.values.items()})


@pytest.mark.slow
def test_callbacks_choose_by_robustness(tmp_path):
    x, y = data()
    model = pruned()
    accuracies = [0.1, 0.4, 0.3, 0.2, 0.9]
    known = SetAccuracy(val_adversarial_accuracy=accuracies, val_vulnerability=[3, 2, 1, 2, 2])
    robust, calm = (tmp_path / "best" / name for name in ("robust.keras", "calm.keras"))
    seen = []
    saving = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(model.network.get_weights())
    )
    callbacks = [
        known,
        saving,
        keras.callbacks.ModelCheckpoint(robust, "val_adversarial_accuracy", save_best_only=True),
        keras.callbacks.ModelCheckpoint(calm, "val_vulnerability", save_best_only=True),
        keras.callbacks.EarlyStopping("val_adversarial_accuracy", patience=2),
    ]
    model.fit(x, y, epochs=5, validation_data=(x, y), callbacks=callbacks, **EPOCHS)
    assert len(seen) == 4  # the second epoch was the best
    for path, epoch in ((robust, 1), (calm, 2)):
        loaded = anp_tf.load(path)
        assert isinstance(loaded.layers[1], BetaBernoulliDropout)
        for value, expected in zip(loaded.get_weights(), seen[epoch], strict=True):
            np.testing.assert_array_equal(value, expected)
    assert not list(tmp_path.glob(".trial-*"))


def test_training_goes_on_from_saved_weights(tmp_path):
    """`save_weights` has the optimizers too, so that Keras's own callback resumes."""
    x, y = data()
    expected = pruned()
    expected.fit(x, y, epochs=2, **EPOCHS)
    stopped, resumed = pruned(), pruned()
    for model, epochs in ((stopped, 1), (resumed, 2)):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        model.fit(x, y, epochs=epochs, callbacks=[backup], **EPOCHS)
    assert resumed.optimizer.iterations == resumed.mask_optimizer.iterations == 2
    for value, other in zip(weights_of(resumed), weights_of(expected), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)


class Custom(keras.layers.Layer):
    """A layer that Keras cannot save."""

    def call(self, x):
        return x

    def get_config(self):
        return {"of": object()}


def test_fit_before_compile():
    model = AdversarialTrainingVS(network(), 12, attack=moved)
    with pytest.raises(ValueError, match="call `compile\\(\\)`"):
        model.fit(*data(), callbacks=[keras.callbacks.EarlyStopping("loss")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda folder: keras.callbacks.EarlyStopping("val_adversarial_accuracy"),
            "EarlyStopping monitors 'val_adversarial_accuracy'.*needs validation_data=",
            id="no validation",
        ),
        pytest.param(
            lambda folder: keras.callbacks.ReduceLROnPlateau("loose"),
            "ReduceLROnPlateau monitors 'loose'.*There will be: loss, accuracy, adv",
            id="no such name",
        ),
        pytest.param(
            lambda folder: keras.callbacks.EarlyStopping("learning_rate"),
            'mode="max" or mode="min"',
            id="no direction",
        ),
        pytest.param(
            lambda folder: keras.callbacks.ModelCheckpoint(folder / "{val_loss:.2f}.keras"),
            "ModelCheckpoint cannot name its file.*val_loss",
            id="no such field",
        ),
        pytest.param(
            lambda folder: keras.callbacks.ModelCheckpoint(folder / "file" / "net.keras"),
            "ModelCheckpoint cannot save to .*net.keras",
            id="no folder",
        ),
    ],
)
def test_callbacks_that_would_fail_later_fail_before_the_first_step(make, message, tmp_path):
    (tmp_path / "file").write_text("")
    model = trained(rate=1.0)
    with pytest.raises(ValueError, match=message):
        model.fit(*data(), callbacks=[make(tmp_path)], **EPOCHS)
    assert model.optimizer.iterations == 0


class Own(keras.callbacks.Callback):
    """A callback of a user's, which shows what no metric has."""

    monitor = "val_f1"

    def on_epoch_end(self, epoch, logs=None):
        logs["val_f1"] = 0.5 - epoch


def test_callbacks_may_monitor_what_one_before_them_shows(tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_f1", mode="max", patience=1)
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}-{val_f1:.1f}.keras")
    history = trained().fit(*data(), callbacks=[Own(), stopping, saving], epochs=9, **EPOCHS)
    assert history.epoch == [0, 1]
    assert {path.name for path in tmp_path.iterdir()} == {"1-0.5.keras", "2--0.5.keras"}
    with pytest.raises(ValueError, match="EarlyStopping monitors 'val_f1', which will not be"):
        trained().fit(*data(), callbacks=[stopping, Own()], **EPOCHS)


def test_a_network_that_cannot_be_saved_is_found_before_the_first_step(tmp_path):
    x = keras.Input((FEATURES,))
    model = METHODS["standard"](keras.Model(x, keras.layers.Dense(3)(Custom()(x))), 12)
    model.compile("adam")
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "network.keras")
    with pytest.raises(ValueError, match="ModelCheckpoint cannot save to"):
        model.fit(*data(), callbacks=[checkpoint], **EPOCHS)
    assert model.optimizer.iterations == 0


# Images and labels.


def test_labels_of_all_kinds_are_the_same():
    x, y = data()
    expected = trained(rate=1.0).fit(x, y, **EPOCHS).history
    one_hot = np.eye(CLASSES)[y]
    for labels in (y.astype("int64"), y[:, None], one_hot, one_hot.astype("uint8")):
        assert trained(rate=1.0).fit(x, labels, **EPOCHS).history == expected


def test_bytes_are_scaled_with_one_line(caplog):
    x, y = data()
    images = (x * 255).astype(np.uint8)
    expected = trained(rate=1.0).fit(images / np.float32(255), y, **EPOCHS).history
    with caplog.at_level(logging.INFO):
        model = trained(rate=1.0)
        history = model.fit(images, y, validation_data=(images, y), **EPOCHS).history
        predicted = model.predict(images, verbose=0)
    assert [r.message for r in caplog.records] == [
        "uint8 images are divided by 255: pixels are in [0, 1]"
    ]
    for name, value in expected.items():
        assert history[name] == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(predicted, model.network(images / np.float32(255)), atol=1e-5)


def changed(pixels=None, labels=None):
    x, y = data()
    if pixels is not None:
        x = x.copy()
        x[4, 2] = pixels
    return x, y if labels is None else labels


@pytest.fixture(scope="module", params=[True, False], ids=["eager", "traced"])
def model(request):
    return trained(rate=1.0, run_eagerly=request.param)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (changed(pixels=255), r"\[0, 1\]. Received: a batch of 0.2\d* to 255: divide by 255$"),
        (changed(pixels=-2), r"a batch of -2 to 0.\d*: give the images before .*Rescaling"),
        (changed(pixels=1000), "divide by their largest value, 1000$"),
        (changed(pixels=np.nan), "1 of them NaN or infinite"),
        (changed(labels=np.arange(12) % 4), "0 to 2. Received: a batch of 0 to 3$"),
        (changed(labels=-np.ones(12, int)), "0 to 2. Received: a batch of -1 to -1$"),
        (changed(labels=np.full((12, 3), 1 / 3)), "One-hot labels must have a 1 .*other vectors$"),
    ],
)
def test_examples_out_of_range_are_one_line_and_change_nothing(examples, message, model):
    before = weights_of(model)
    shown = {"verbose": 0}
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        options = shown if call in (model.fit, model.evaluate) else {}
        with pytest.raises(ValueError, match=message) as caught:
            call(*examples, **options)
        assert "\n" not in str(caught.value)
    for value, other in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ((data()[0].astype(int), data()[1]), "Images must be floats.*or uint8.*int64"),
        ((data()[0], np.zeros(12)), "Labels must be integers.*or one-hot.*float32"),
        ((data()[0],), "Labels are needed"),
        ((data()[0][:, :-1], data()[1]), r"Images must be \[batch, .*Received: \("),
    ],
)
def test_other_examples_are_refused(examples, message):
    with pytest.raises(ValueError, match=message):
        trained().fit(*examples, **EPOCHS)


@pytest.mark.slow
def test_examples_of_unknown_rank():
    def batches(*specs):
        dataset = tf.data.Dataset.from_generator(lambda: iter([data()]), output_signature=specs)
        return dataset.apply(tf.data.experimental.assert_cardinality(1))

    images, labels = tf.TensorSpec(None, tf.float32), tf.TensorSpec([None], tf.int32)
    expected = trained().fit(*data(), **EPOCHS).history
    assert trained().fit(batches(images, labels), verbose=0).history == expected
    with pytest.raises(ValueError, match=r"Labels must have a known rank, .*: int32 of an unkn"):
        trained(run_eagerly=False).fit(batches(images, tf.TensorSpec(None, tf.int32)), verbose=0)


def test_what_a_step_cannot_do_is_refused_by_compile():
    optimizers = keras.optimizers
    for optimizer, message in (
        (optimizers.LossScaleOptimizer(optimizers.SGD(1.0)), "losses are not scaled"),
        (optimizers.SGD(1.0, loss_scale_factor=2.0), "without loss_scale_factor.*=2.0"),
        (optimizers.SGD(1.0, gradient_accumulation_steps=2), "without gradient_accumulation_steps"),
        (optimizers.SGD(1.0, use_ema=True), "without use_ema; .*`average_decay`"),
    ):
        for name, pair in (
            ("optimizer", (optimizer, "sgd")),
            ("mask_optimizer", ("sgd", optimizer)),
        ):
            with pytest.raises(ValueError, match=f"^Argument `{name}`: .*{message}"):
                pruned().compile(*pair)


def test_a_compile_that_is_refused_changes_nothing():
    model = AdversarialNeuralPruningVS(network(BetaBernoulliDropout()), 12, moved)
    with pytest.raises(ValueError, match="needs an optimizer of its own for the masks"):
        model.compile("sgd")
    with pytest.raises(ValueError, match="call `compile\\(\\)`"):
        model.fit(*data())
    model.compile(keras.optimizers.SGD(0.0), "sgd", run_eagerly=True)
    optimizer = model.optimizer
    with pytest.raises(ValueError, match="without use_ema"):
        model.compile(keras.optimizers.SGD(1.0, use_ema=True), "sgd")
    assert model.optimizer is optimizer


def test_layers_that_were_frozen_later_need_a_new_method():
    model = trained(rate=0.1)
    layer = model.network.layers[0]
    layer.trainable = False
    with pytest.raises(ValueError, match="Expected a new AdversarialTrainingVS"):
        model.compile("sgd")
    again = AdversarialTrainingVS(model.network, 12, attack=moved)
    again.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = [np.array(v) for v in model.network.weights]
    again.fit(*data(), **EPOCHS)
    same = [np.array_equal(v, w) for v, w in zip(before, model.network.weights, strict=True)]
    assert same == [True, True, False, False]


class Adds(keras.layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs))
        return inputs


@pytest.mark.parametrize(
    "layer",
    [Adds(name="adds"), keras.layers.Dense(4, activity_regularizer="l2", name="adds")],
)
def test_losses_of_layers_are_refused(layer):
    inside = keras.Sequential([keras.Input((FEATURES,)), layer])
    outside = keras.Sequential([keras.Input((FEATURES,)), inside, keras.layers.Dense(CLASSES)])
    model = AdversarialTrainingVS(outside, 12, attack=moved)
    model.compile("sgd")
    with pytest.raises(ValueError, match="layer `adds` adds one, by add_loss or activity_reg"):
        model.fit(*data(), **EPOCHS)


def test_export_is_that_of_the_network(tmp_path):
    model = trained()
    model.fit(*data(), **EPOCHS)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(data()[0]), model.network(data()[0]), atol=1e-6)


def test_weights_that_are_not_one_for_each_example():
    for weights in (np.ones((12, 2)), np.ones((12, 1, 2))):
        with pytest.raises(ValueError, match=r"one for each example.*Received: shape \("):
            trained().fit(*data(), sample_weight=weights, **EPOCHS)
    with pytest.raises(ValueError, match=r"^Sample weights must be finite. Received: [^\n]*$"):
        trained().fit(*data(), sample_weight=np.full(12, np.nan), **EPOCHS)
    trained().fit(*data(), sample_weight=np.ones((12, 1)), **EPOCHS)
