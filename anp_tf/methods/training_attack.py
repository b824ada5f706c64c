"""The attack of a training step: it warms up, grows, and may give way to another one."""

import inspect

import keras
import tensorflow as tf

from anp_tf.arguments import check
from anp_tf.attacks import NFGSM, PGD, Attack
from anp_tf.methods.schedule import warmed


class TrainingAttack:
    """Attacks the batches of training steps.

    Args:
        attack: `anp_tf.attacks` object, or None.
        attacked: `AttackedNetwork`.
        schedule: `Schedule`.

    Attributes:
        noise: Keras variable that holds the noise of an `NFGSM`; None for other attacks.

    Raises:
        ValueError: if the schedule has an attack grow that has no `steps`, or warm up that takes no
            `scale`.
    """

    def __init__(self, attack, attacked, schedule):
        self.attack, self.attacked, self.schedule = attack, attacked, schedule
        self.noise = None
        if attack is not None and schedule.attack_growth is not None:
            expected = "one with `steps`, which `attack_growth` is for"
            check("attack", attack, hasattr(attack, "steps") and _takes(attack, "steps"), expected)
            growth, expected = schedule.attack_growth, f"at first at most {attack.steps} steps"
            check("attack_growth", growth, growth[0] <= attack.steps, expected)
        if attack is not None and schedule.epsilon_warmup_steps:
            last = None if schedule.last_attack is None else schedule.last_attack[1]
            expected = "one whose call takes `scale`, which `epsilon_warmup_steps` is for"
            for name, each in (("attack", attack), ("last_attack", last)):
                check(name, each, each is None or _takes(each, "scale"), expected)
        if isinstance(attack, NFGSM):
            self.noise = keras.Variable(
                attack.noise, trainable=False, dtype="float32", name="noise", autocast=False
            )

    @property
    def variables(self):
        return [] if self.noise is None else [self.noise]

    def __call__(self, x, y, masks, seed, step):
        """The batch under the attack of a step.

        Args:
            x: Tensor [batch, ...], pixels.
            y: Integer tensor [batch], labels.
            masks: Dict from mask layer to its mask in inference, [units].
            seed: Integer tensor [2].
            step: Integer tensor, the number of steps done.
        """
        strength = self._strength(step)

        def first():
            return self.attacked(self.attack, x, y, masks, seed=seed, **strength)

        if self.schedule.last_attack is None:
            return first()
        start, attack = self.schedule.last_attack

        def last():
            return self.attacked(attack, x, y, masks, seed=seed, **self._scale(step))

        return tf.cond(tf.cast(step, tf.int64) >= start, last, first)

    def _scale(self, step):
        """The share of the radius during the warm-up; attacks without one need not know of it."""
        over = self.schedule.epsilon_warmup_steps
        return {"scale": warmed(step, over)} if over else {}

    def _strength(self, step):
        """The attack's radius, number of steps and noise, as its keyword arguments."""
        strength = self._scale(step)
        if self.noise is not None:
            strength["noise"] = tf.convert_to_tensor(self.noise)
        if self.schedule.attack_growth is not None:
            first, over = self.schedule.attack_growth
            share = tf.minimum(1.0, tf.cast(step, tf.float32) / over)
            grown = first + share * (self.attack.steps - first)
            strength["steps"] = tf.cast(tf.round(grown), tf.int32)
        return strength


def _takes(attack, option):
    """Whether an attack has a call argument, as far as its signature tells."""
    function = attack.perturb if isinstance(attack, Attack) else attack
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of what is not written in Python
        return True
    kinds = {parameter.kind for parameter in parameters.values()}
    return option in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def validation_attack_like(attack, steps=10):
    """PGD in the ball of an attack, for validation; None for no attack.

    What has no `epsilon`, being a function of one's own, validates itself.
    """
    if attack is None or not hasattr(attack, "epsilon"):
        return attack
    epsilon = attack.epsilon
    step_size = min(1.0, 2.5 * epsilon / steps)
    return PGD(
        epsilon=epsilon, step_size=step_size, steps=steps, norm=getattr(attack, "norm", None)
    )
