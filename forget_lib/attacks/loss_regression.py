"""Loss, logistic regression."""

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from forget_lib.attacks import AttackInput, attack, source, summarise
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import intervals, scores
from forget_lib.statistics.measurement import Measurement

FOLDS = 10


def loss_score(inputs: AttackInput) -> np.ndarray:
    """Minus the loss of each sample: higher means "was trained on"."""
    return -scores.cross_entropy(inputs.logits, inputs.labels)


def matched_columns(inputs: AttackInput) -> np.ndarray:
    """Columns (forget first) with as many unseen as forget samples of each class, chosen by `inputs.seed`."""
    generator = np.random.default_rng(inputs.seed)
    columns = []
    for label in np.unique(inputs.forget.labels):
        sides = [np.flatnonzero(side.labels == label) for side in (inputs.forget, inputs.unseen)]
        number = min(map(len, sides))
        forget, unseen = (generator.permutation(side)[:number] for side in sides)
        columns += [forget, inputs.number_forget + unseen]
    return np.sort(np.concatenate(columns))


def guessed(score: np.ndarray, member: np.ndarray, seed: int) -> np.ndarray:
    """Whether each sample is a member by a regression on the other folds, bool [n]. score: float [n].

    The same as `cross_val_predict`, in half the time: most of it are checks of numbers that were checked before.
    """
    guess, column = np.zeros(len(member), dtype=bool), score[:, None]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
        for known, asked in folds.split(column, member):
            guess[asked] = LogisticRegression().fit(column[known], member[known]).predict(column[asked])
    return guess


@attack("loss_regression", title="Loss, logistic regression", null="0.5", score=loss_score)
@source("NeurIPS 2023 unlearning challenge, starting kit", arxiv="2406.09073")
def loss_regression(inputs: AttackInput) -> list[Measurement]:
    """Tell forget from unseen samples by their loss, with logistic regression and 10-fold cross-validation.

    Both sides have the same number of samples of each class, so chance is 0.5. Accuracy comes with a Clopper-Pearson
    interval over samples, the AUC of minus the loss (all samples, signed) with DeLong's.
    Known weakness: one threshold for everybody; over-forgetting of some samples cancels under-forgetting of others.
    Raises: TooFewError below 10 samples a side.
    """
    columns = matched_columns(inputs)
    member = columns < inputs.number_forget
    if member.sum() < FOLDS:
        needed = f"at least {FOLDS} forget and {FOLDS} unseen samples of the same classes"
        raise TooFewError(f"loss_regression needs {needed}, got {int(member.sum())}.")
    score = loss_score(inputs)
    guess = guessed(score[columns], member, inputs.seed)
    right = intervals.clopper_pearson(int((guess == member).sum()), len(member))
    accuracy = Measurement("accuracy", right.value, right.low, right.high, "share", n=right.n, null=0.5)
    return [accuracy, *summarise(score, inputs)]
