"""What many masks are at a time, by fewer operations than one after the other."""

from anp_tf.layers import kumaraswamy_masks
from anp_tf.layers.beta_bernoulli_dropout import BetaBernoulliDropout


def training_masks(masks, batch_size, seeds):
    """Dict from each mask layer to its `training_mask`.

    Args:
        masks: Sequence of built mask layers.
        batch_size: Integer tensor.
        seeds: Sequence of integer tensors [2], a stateless seed for each.
    """
    seeds = dict(zip(masks, seeds, strict=True))

    def together(layers):
        return kumaraswamy_masks.samples(layers, batch_size, [seeds[layer] for layer in layers])

    samples = _found(masks, together, lambda mask: mask.sample(batch_size, seeds[mask]))
    return {mask: sample * mask.kept for mask, sample in samples.items()}


def inference_masks(masks):
    """Dict from each mask layer to its `inference_mask`."""

    def together(layers):
        keep = kumaraswamy_masks.keep_probabilities(layers)
        return [layer.thresholded(value) for layer, value in zip(layers, keep, strict=True)]

    expected = _found(masks, together, lambda mask: mask.expected())
    return {mask: value * mask.kept for mask, value in expected.items()}


def divergences(masks):
    """Dict from each mask layer, or other layer with a divergence, to its `kl()`."""
    return _found(masks, kumaraswamy_masks.divergences, lambda mask: mask.kl())


def _found(masks, together, alone):
    """What one function returns for the masks that it is for, as a list, another for each other."""
    joint = [
        mask
        for mask in masks
        if type(mask) is BetaBernoulliDropout and mask.posterior == "kumaraswamy"
    ]
    found = dict(zip(joint, together(joint), strict=True)) if joint else {}
    return {mask: found[mask] if mask in found else alone(mask) for mask in masks}
