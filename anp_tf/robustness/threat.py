"""The threat model: how far an attacker may move an image, and how the attacks are made."""

import dataclasses
import math

import numpy as np

from anp_tf.attacks import L2, PGD, Attack, InTurn, Linf, Transfer
from anp_tf.options import exact_text

NORMS = {"Linf": Linf, "L2": L2}
STEPS = 40  # of PGD, as in the paper
# By which the distance of an image may exceed epsilon in float32: in shares of it, and besides.
ROUNDING = 1e-5, 1e-7


@dataclasses.dataclass(frozen=True)
class Threat:
    """A ball around each image, and what the result must not depend on.

    Attributes:
        epsilon: Float, above 0, radius of the ball in pixel units; at most 1 in the L-infinity
            ball.
        norm: `"Linf"` or `"L2"`.
        seed: Integer, at least 0 and below 2^31. Every image has random numbers of its own, from
            the seed and the image's position.
        batch_size: Integer, at least 1, images at a time.
        samples: Integer, at least 1, draws of a stochastic network.

    Raises:
        ValueError: if a value is out of its range.
    """

    epsilon: float
    norm: str = "Linf"
    seed: int = 0
    batch_size: int = 250
    samples: int = 10

    def __post_init__(self):
        if self.norm not in NORMS:
            raise ValueError(f"norm: expected one of {', '.join(NORMS)}, received {self.norm!r}")
        linf = self.norm == "Linf"
        radius = "in (0, 1], in pixel units such as 8/255" if linf else "above 0, and finite"
        for name, valid, expected in (
            ("epsilon", 0 < self.epsilon <= (1 if linf else np.finfo(float).max), radius),
            ("seed", 0 <= self.seed < 2**31, "in [0, 2^31)"),
            ("batch_size", self.batch_size >= 1, "of at least 1"),
            ("samples", self.samples >= 1, "of at least 1"),
        ):
            if not valid:
                received = exact_text(getattr(self, name))
                raise ValueError(f"{name}: expected a value {expected}, received {received}")

    @property
    def ball(self):
        """The geometry of the ball, `Linf()` or `L2()`."""
        return NORMS[self.norm]()

    def at(self, epsilon):
        """The same in a ball of another radius."""
        return dataclasses.replace(self, epsilon=epsilon)

    def pgd(self, **options):
        """`PGD` of 40 steps that go 2.5 times as far as the radius, or with other options."""
        options = {"steps": STEPS, "step_size": 2.5 * self.epsilon / STEPS, **options}
        return PGD(epsilon=self.epsilon, norm=self.ball, **options)

    def check_attacks(self, attacks):
        """Raises a ValueError if an `Attack` is of another ball, which it would seem to be of.

        Args:
            attacks: Dict from a name to an attack; of other kinds than those of this package
                nothing is known.
        """
        for name, attack in attacks.items():
            for each in _held(attack):
                own = math.isclose(each.epsilon, self.epsilon, rel_tol=1e-6)
                if not own or not isinstance(each.norm, NORMS[self.norm]):
                    raise ValueError(
                        f"attack: expected attacks in the ball of the threat, {self.norm} with "
                        f"epsilon={self.epsilon:g}, received {name}: {each}"
                    )

    def record(self):
        """What identifies the images of an attack, as a dict."""
        return {"epsilon": self.epsilon, "norm": self.norm, "seed": self.seed}

    def distances(self, images, originals):
        """The distance of each image from its original, float64 [n]."""
        moved = images.astype(np.float64) - originals
        axes = tuple(range(1, moved.ndim))
        if self.norm == "Linf":
            return np.abs(moved).max(axes)
        return np.sqrt(np.square(moved).sum(axes))

    def outside(self, images, originals):
        """Which images are out of the ball, which are no pixels, and the distances, each [n]."""
        away = self.distances(images, originals)
        relative, absolute = ROUNDING
        pixels = np.all((images >= 0) & (images <= 1), axis=tuple(range(1, images.ndim)))
        return ~(away <= self.epsilon * (1 + relative) + absolute), ~pixels, away


def _held(attack):
    """The `Attack`s that an attack is, or holds."""
    if isinstance(attack, Transfer):
        return _held(attack.attack)
    if isinstance(attack, InTurn):
        return [each for part in attack.attacks for each in _held(part)]
    return [attack] if isinstance(attack, Attack) else []
