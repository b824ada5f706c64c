"""What was proved of each image, in `certificate.json`."""

import hashlib
import json

import keras
import numpy as np
import tensorflow as tf

from anp_tf import __version__
from anp_tf.files import atomic_file, read_json
from anp_tf.layers import mask_layers
from anp_tf.names import PROOFS

PROVED, BROKEN, OPEN = "proved", "broken", "open"
FILE = "certificate.json"
KEYS = ("seconds", "outcomes", "methods")  # without which one cannot go on
NOT_COMPARED = ("path", "dataset")  # where they lie; network and images are known by their digests


def network_sha256(network):
    """SHA-256 of a network's configuration, its weights with their names, and `given_masks`."""
    digest = hashlib.sha256(json.dumps(network.get_config(), sort_keys=True, default=str).encode())
    for weight in network.weights:
        value = np.asarray(weight)
        digest.update(f"{weight.path} {value.dtype} {value.shape}".encode() + value.tobytes())
    for layer in mask_layers(network):
        if (mask := layer.given_mask()) is not None:
            digest.update(layer.name.encode() + np.asarray(mask).tobytes())
    return digest.hexdigest()


def images_sha256(x, y):
    """SHA-256 of images and their labels, NumPy arrays."""
    return hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()


def begun(path, about, x, y):
    """The certificate of a file, or an empty one."""
    certificate = None if path is None else read_json(path, ValueError, keys=KEYS)
    if certificate is not None:
        _check_outcomes(path, certificate)
        done = len(certificate["outcomes"])
        if done > len(x):
            raise ValueError(f"{path} has the proofs of {done} images. Expected: {len(x)} at most")
        for name, value in {**about, "images": images_sha256(x[:done], y[:done])}.items():
            if name not in NOT_COMPARED and certificate.get(name) != value:
                raise ValueError(
                    f"{path} has the proofs of something else: its `{name}` is "
                    f"{certificate.get(name)!r}. Expected: {value!r}"
                )
        return {**certificate, **about, "counts": _counts(*map(certificate.get, KEYS[1:]))}
    versions = {"anp_tf": __version__, "keras": keras.__version__, "tensorflow": tf.__version__}
    return {
        **about,
        "images": images_sha256(x[:0], y[:0]),
        "versions": versions,
        "seconds": 0.0,
        "counts": _counts([], []),
        "outcomes": [],
        "methods": [],
    }


def write(path, certificate, x, y):
    """Brings a certificate up to its outcomes, and writes it to a path that is not None."""
    certificate["counts"] = _counts(certificate["outcomes"], certificate["methods"])
    done = len(certificate["outcomes"])
    certificate["images"] = images_sha256(x[:done], y[:done])
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(certificate, indent=1) + "\n")


def _check_outcomes(path, certificate):
    """A ValueError unless what is proved, and nothing else, has a method for each outcome."""
    seconds, outcomes, methods = (certificate[name] for name in KEYS)
    valid = isinstance(outcomes, list) and isinstance(methods, list)
    valid = valid and len(outcomes) == len(methods) and isinstance(seconds, int | float)
    for outcome, method in zip(outcomes, methods, strict=True) if valid else ():
        proof = outcome == PROVED and method in PROOFS
        valid = valid and (proof or (outcome in (BROKEN, OPEN) and method is None))
    if not valid:
        received = {name: str(certificate[name])[:40] for name in KEYS}
        raise ValueError(
            f"{path} is damaged; remove it: expected seconds, and for each image an outcome, and a "
            f"method if it is proved, received {received}"
        )


def _counts(outcomes, by):
    counts = {name: outcomes.count(name) for name in (PROVED, BROKEN, OPEN)}
    return {**counts, "proved_by": {name: by.count(name) for name in PROOFS}}
