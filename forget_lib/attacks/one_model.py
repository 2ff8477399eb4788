"""One model: a sample against images that were never trained on, under the same model; no pool is needed."""

import numpy as np
import sklearn
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.inputs import as_array
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import scores

FEWEST = 50
"""Population images below which nothing is fitted."""
SMALLEST = 1e-2


@attack("one_model", title="One model (regression)", null="0.5", needs="population", kind="score")
@source("Bertran et al., NeurIPS 2023", arxiv="2307.03694")
def one_model(inputs: AttackInput) -> np.ndarray:
    r"""How far the margin lies above what a regression expects: :math:`(\phi - \mu(x)) / \sigma(x)`.

    Mean and log-spread of the target's margin are ridge regressions on the label and what is known of an image without
    the target (`Side.known`: a helper net's logits, components of the image), fitted on population images alone.
    Raises: TooFewError below 50 of them.
    """
    sides = [side for side in (inputs.population, inputs.forget, inputs.unseen) if side is not None]
    if len(sides[0].labels) < FEWEST:
        raise TooFewError(f"one_model needs at least {FEWEST} population images, got {len(sides[0].labels)}.")
    classes = np.eye(inputs.logits.shape[1])
    known = [np.hstack([classes[as_array(side.labels)], np.asarray(side.known)]) for side in sides]
    train, asked = known[0], np.concatenate(known[1:])
    margin = scores.phi(as_array(sides[0].logits), as_array(sides[0].labels))
    mean, spread = (make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11))) for _ in range(2))
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # inputs were checked
        # Residuals of images that the fit has seen would be too small.
        apart = np.log(np.abs(margin - cross_val_predict(mean, train, margin, cv=5)) + SMALLEST)
        expected = mean.fit(train, margin).predict(asked)
        deviation = np.exp(np.clip(spread.fit(train, apart).predict(asked), apart.min(), apart.max()))
    return (scores.phi(inputs.logits, inputs.labels) - expected) / deviation
