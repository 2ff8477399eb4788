"""An attacker who holds the model before *and* after the deletion. Exact retraining is not safe from this one."""

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forget_lib.attacks import AttackInput, attack, source, summarise
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import intervals, scores
from forget_lib.statistics.measurement import Measurement

FOLDS = 5
SHUFFLES = 3


def snapshot_features(inputs: AttackInput) -> np.ndarray:
    """What changed between the models: margins, sorted probabilities, differences and distance, [n, 2C + 4]."""
    before = np.concatenate([np.asarray(side.before) for side in (inputs.forget, inputs.unseen)])
    after = inputs.logits
    margins = [scores.phi(part, inputs.labels) for part in (before, after)]
    order = np.argsort(-before, axis=1)
    p, q = (np.take_along_axis(softmax(part, axis=1), order, axis=1) for part in (before, after))
    distance = np.linalg.norm(p - q, axis=1)
    return np.column_stack([*margins, margins[0] - margins[1], distance, p, p - q])


@attack("two_snapshot", title="Two snapshots", null="label shuffle", needs="two snapshots")
@source("Chen et al., CCS 2021", arxiv="2005.02205")
def two_snapshot(inputs: AttackInput) -> list[Measurement]:
    """Tell forget from unseen samples by how the answers changed; logistic regression, 5-fold cross-validated.

    It finds the samples removed by an exact retrain *by design*: a value above 0.5 on the retrained model is leakage of
    deletion itself. The null is the same attack with shuffled labels (`null`, mean of 3 shuffles).
    Raises: TooFewError below 10 samples a side.
    """
    member = np.arange(len(inputs.labels)) < inputs.number_forget
    if min(member.sum(), (~member).sum()) < 2 * FOLDS:
        raise TooFewError(f"two_snapshot needs at least {2 * FOLDS} forget and {2 * FOLDS} unseen samples.")
    features = snapshot_features(inputs)
    generator = np.random.default_rng(inputs.seed)
    found = summarise(_out_of_fold(features, member, inputs.seed), inputs)
    nulls = []
    for shuffled in [generator.permutation(member) for _ in range(SHUFFLES)]:
        score = _out_of_fold(features, shuffled, inputs.seed)
        nulls.append(intervals.auc(score[shuffled], score[~shuffled]))
    return [m._replace(null=float(np.mean(nulls))) if m.metric == "auc" else m for m in found]


def _out_of_fold(features: np.ndarray, member: np.ndarray, seed: int) -> np.ndarray:
    """The score of each sample by a classifier that did not see it."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return cross_val_predict(classifier, features, member, cv=folds, method="decision_function")
