"""What changes while a method trains."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from anp_tf.arguments import check, check_count, check_number


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What changes while a method trains, by the number of training steps done.

    Attributes:
        epsilon_warmup_steps: Integer; the attack grows linearly from 0 over so many steps.
        kl_warmup_steps: Integer; beta grows linearly from 0 over so many steps.
        attack_growth: Pair of integers, or None. (k, n): the attack has k steps at first, and grows
            linearly to its own number, `steps`, over n training steps, in steps that cover the same
            way.
        last_attack: Pair of an integer and an attack, or None. (k, attack): from training step k on
            this attack takes the place of the first one.
        mask_freeze_step: Integer; from this step on the masks are those of inference, and `fit`
            leaves them as they are: the weights are tuned to the network that will be used. They
            are trained through the slimmed network, which computes the same at less cost. None:
            never. The attack runs on the slimmed network all the time.
        fix_sparsity: Float in [0, 1), share of the units that are pruned, at least, when the masks
            are fixed: by `anp_tf.pruning.units.cut_to_share`. 0 if they never are.

    Raises:
        ValueError: if a value is out of its range.
    """

    epsilon_warmup_steps: int = 0
    kl_warmup_steps: int = 0
    attack_growth: tuple[int, int] | None = None
    last_attack: tuple[int, Callable[..., tf.Tensor]] | None = None
    mask_freeze_step: int | None = None
    fix_sparsity: float = 0.0

    def __post_init__(self):
        for name in ("epsilon_warmup_steps", "kl_warmup_steps"):
            check_count(name, getattr(self, name), least=0)
        if self.attack_growth is not None:
            for value in _pair("attack_growth", self.attack_growth):
                check_count("attack_growth", value)
        if self.last_attack is not None:
            start, attack = _pair("last_attack", self.last_attack)
            check_count("last_attack", start, least=0)
            check("last_attack", attack, callable(attack), "an attack after the step")
        if self.mask_freeze_step is not None:
            check_count("mask_freeze_step", self.mask_freeze_step, least=0)
        expected = "a share in [0, 1)"
        check_number("fix_sparsity", self.fix_sparsity, lambda v: 0 <= v < 1, expected)
        fixed = self.mask_freeze_step is not None or not self.fix_sparsity
        check("fix_sparsity", self.fix_sparsity, fixed, "0 without a `mask_freeze_step`")

    def masks_are_fixed(self, step: int) -> bool:
        """Whether the masks are those of inference after so many steps."""
        return self.mask_freeze_step is not None and step >= self.mask_freeze_step


def _pair(name, value):
    check(name, value, isinstance(value, tuple | list) and len(value) == 2, "a pair, or None")
    return value


def warmed(step, warmup_steps):
    """Grows linearly to 1 over the warm-up."""
    return tf.minimum(1.0, (tf.cast(step, tf.float32) + 1.0) / max(1.0, warmup_steps))
