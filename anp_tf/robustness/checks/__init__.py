"""Checks of an evaluation under attack: signs that a robustness is only apparent.

They follow the checklists of Carlini et al. 2019, "On Evaluating Adversarial Robustness"
(https://arxiv.org/abs/1902.06705), and of Athalye et al. 2018, "Obfuscated Gradients Give a False
Sense of Security" (https://arxiv.org/abs/1802.00420).
"""

from anp_tf.attacks import APGD, FGSM, Noise, Square
from anp_tf.losses import cross_entropy, margin
from anp_tf.progress import silent
from anp_tf.robustness.checks.attack_checks import (
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
from anp_tf.robustness.threat import STEPS

__all__ = ["Check", "run_checks"]

RESTARTS = 5


def run_checks(
    candidate,
    folder,
    threat,
    *,
    step_size=None,
    queries=1000,
    undefended=None,
    source=None,
    counter=silent,
):
    """Runs all checks that can be run.

    If the calls of the network differ, all attacks go through the mean of several draws
    (expectation over transformation).

    Args:
        candidate: `Candidate`.
        folder: Where the measurements are kept; started again, those that are there stay.
        threat: `Threat`.
        step_size: Float, of PGD-40; None: 2.5 epsilon / 40.
        queries: Integer, of the Square attack.
        undefended: `Candidate` of the same shape without a defence, which must fall; or None.
        source: `Candidate` on which the transferred attack is made; None: `undefended`.
        counter: Function `(title, total) -> context manager of a progress function`.

    Returns:
        List of `Check`; of a network whose pixels or logits make no sense, of these alone.

    Raises:
        EvaluationError: if the folder holds measurements of another network.
    """
    network, batches = candidate.network, candidate.batches(threat.batch_size)
    x, y = next(iter(batches.unbatch().batch(PROBE_IMAGES)))
    pixels = check_pixels(network, batches)
    outputs = check_outputs(network, x, candidate.ending)
    nonsense = pixels.status == FAIL and pixels.values["outside"]
    if nonsense or outputs.values["not_finite"]:
        return [pixels, outputs]
    steady = check_deterministic(network, x)
    gradients = check_gradients(network, x, y)
    resolution = check_resolution(network, x, gradients=bool(gradients.values))
    identity = candidate.identity(undefended=undefended, source=source)
    if steady.status != PASS:
        network = SampledNetwork(network, threat.samples)
        identity["samples"] = threat.samples
    measure = Measurements(
        network,
        batches,
        candidate.count,
        folder,
        threat,
        identity,
        steady.status == PASS,
        counter,
    )
    undefended, source = (other and other.network for other in (undefended, source))
    ball = {"epsilon": threat.epsilon, "norm": threat.ball}
    size = {"step_size": step_size} if step_size else {}
    pgd = threat.pgd(**size)
    base = measure.of("pgd-40", pgd)
    fgsm = measure.of("fgsm", FGSM(**ball))
    noise = measure.of("noise", Noise(**ball))
    return [
        pixels,
        outputs,
        resolution,
        steady,
        gradients,
        check_undefended(measure, pgd, undefended),
        not_weaker("fgsm", "PGD is not weaker than FGSM", base, fgsm),
        not_weaker("noise", "No attack is weaker than random noise", weakest(base, fgsm), noise),
        check_transfer(measure, base, pgd, source or undefended),
        check_epsilons(measure, base),
        check_convergence(
            base,
            measure.of("pgd-80", threat.pgd(steps=2 * STEPS, **size)),
            measure.of(f"pgd-40x{RESTARTS}", threat.pgd(restarts=RESTARTS, **size)),
        ),
        check_square(
            [
                base,
                measure.of("apgd-ce", APGD(**ball, loss=cross_entropy)),
                measure.of("apgd-margin", APGD(**ball, loss=margin)),
            ],
            measure.of("square", Square(**ball, queries=queries, channels_first=False)),
        ),
        check_masks(measure, pgd, base, candidate.masked),
        check_ball(measure),
    ]
