"""Checks of an evaluation under attack: signs that a robustness is only apparent.

They follow the checklists of Carlini et al. 2019, "On Evaluating Adversarial Robustness"
(https://arxiv.org/abs/1902.06705), and of Athalye et al. 2018, "Obfuscated Gradients Give a False
Sense of Security" (https://arxiv.org/abs/1802.00420).
"""

from anp_tf.attacks import APGD, FGSM, PGD, Noise, Square
from anp_tf.losses import cross_entropy, margin
from anp_tf.robustness.checks.attack_checks import (
    STEPS,
    check_ball,
    check_convergence,
    check_epsilons,
    check_masks,
    check_square,
    check_transfer,
    check_undefended,
    not_weaker,
    weakest,
)
from anp_tf.robustness.checks.check import FAIL, PASS, Check
from anp_tf.robustness.checks.measurements import Measurements
from anp_tf.robustness.checks.network_checks import (
    check_deterministic,
    check_gradients,
    check_outputs,
    check_pixels,
    check_resolution,
)
from anp_tf.robustness.interface import PROBE_IMAGES
from anp_tf.robustness.sampled import SampledNetwork

__all__ = ["Check", "run_checks"]

RESTARTS = 5


def run_checks(
    network,
    batches,
    total,
    folder,
    threat,
    *,
    step_size=None,
    queries=1000,
    undefended=None,
    source=None,
    masked=None,
    ending=None,
    identity=None,
    counter=None,
):
    """Runs all checks that can be run.

    Args:
        network: Keras model, or function `(pixels, training) -> logits`. If its calls differ, all
            attacks go through the mean of several draws (expectation over transformation).
        batches: `tf.data.Dataset` of (pixels [batch, ...], labels [batch]).
        total: Integer, the images in it.
        folder: Where the measurements are kept; started again, those that are there stay.
        threat: `Threat`.
        step_size: Float, of PGD-40; None: 2.5 epsilon / 40.
        queries: Integer, of the Square attack.
        undefended: A network of the same shape without a defence, which must fall.
        source: A network on which the transferred attack is made; None: `undefended`.
        masked: The Keras model with masks, if the network is its slimmed form.
        ending: `"softmax"` or `"sigmoid"` if the network is known to end so.
        identity: As for `worst_case`.
        counter: Optional function `(title, total) -> context manager of a progress function`.

    Returns:
        List of `Check`; of a network whose pixels or logits make no sense, of these alone.

    Raises:
        EvaluationError: if the folder holds measurements of another network.
    """
    x, y = next(iter(batches.unbatch().batch(PROBE_IMAGES)))
    pixels = check_pixels(network, batches)
    outputs = check_outputs(network, x, ending)
    nonsense = pixels.status == FAIL and pixels.values["outside"]
    if nonsense or outputs.values["not_finite"]:
        return [pixels, outputs]
    steady = check_deterministic(network, x)
    gradients = check_gradients(network, x, y)
    resolution = check_resolution(network, x, gradients=bool(gradients.values))
    if steady.status != PASS:
        network = SampledNetwork(network, threat.samples)
    measure = Measurements(
        network, batches, total, folder, threat, identity, steady.status == PASS, counter
    )
    epsilon, ball = threat.epsilon, threat.ball
    size = step_size or 2.5 * epsilon / STEPS

    def pgd(steps=STEPS, **options):
        return PGD(epsilon=epsilon, step_size=size, steps=steps, norm=ball, **options)

    def apgd(loss):
        return APGD(epsilon=epsilon, loss=loss, norm=ball)

    base = measure.of("pgd-40", pgd())
    fgsm = measure.of("fgsm", FGSM(epsilon=epsilon, norm=ball))
    noise = measure.of("noise", Noise(epsilon=epsilon, norm=ball))
    checks = [
        pixels,
        outputs,
        resolution,
        steady,
        gradients,
        check_undefended(measure, pgd(), undefended),
        not_weaker("fgsm", "PGD is not weaker than FGSM", base, fgsm, total),
        not_weaker(
            "noise",
            "No attack is weaker than random noise",
            weakest(base, fgsm),
            noise,
            total,
        ),
        check_transfer(measure, base, pgd(), source or undefended),
        check_epsilons(measure, base),
        check_convergence(
            base,
            measure.of("pgd-80", pgd(2 * STEPS)),
            measure.of(f"pgd-40x{RESTARTS}", pgd(restarts=RESTARTS)),
            total,
        ),
        check_square(
            [
                base,
                measure.of("apgd-ce", apgd(cross_entropy)),
                measure.of("apgd-margin", apgd(margin)),
            ],
            measure.of("square", Square(epsilon=epsilon, queries=queries, norm=ball)),
            total,
        ),
        check_masks(measure, pgd(), base, masked),
    ]
    return [*checks, check_ball(measure)]
