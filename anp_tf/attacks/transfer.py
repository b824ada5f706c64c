"""Black-box attack by transfer: images made on one network are shown to another."""

from anp_tf.attacks.description import text


class Transfer:
    """An attack that is made on a source network, whichever network it is called for.

    Called as `attack(network, x, y)`, like the attack it holds, so that it can stand among others
    on the same network.

    Args:
        attack: An attack of this package.
        source: Keras model, or any function `(pixels, training) -> logits`, that takes the same
            images and knows the same classes.

    Reference:
        - Papernot et al. 2016, "Transferability in Machine Learning",
          https://arxiv.org/abs/1605.07277
    """

    def __init__(self, attack, source):
        self.attack = attack
        self.source = source

    def __repr__(self):
        return f"Transfer({self.attack}, {text(getattr(self.source, 'name', self.source))})"

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch, as of the attack; `network` is not asked."""
        return self.attack(self.source, x, y, seed=seed)
