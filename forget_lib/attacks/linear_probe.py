"""Linear probe."""

from sklearn.linear_model import LogisticRegression

from forget_lib.attacks import ProbeInput, attack, source
from forget_lib.attacks.parts.probes import by_group
from forget_lib.statistics.measurement import Measurement


@attack("linear_probe", title="Linear probe", null="second retrain", needs="embeddings", kind="table")
@source("Alain & Bengio 2016; representation probing of unlearned models", arxiv="1610.01644 -")
def linear_probe(inputs: ProbeInput) -> list[Measurement]:
    """Recall of a logistic regression on frozen features, trained on the gallery and tested on the queries, in [0, 1].

    A method that only turns the last layer away keeps a high recall here. Ideal: as retrained.
    """
    middle, scale = inputs.gallery.mean(axis=0), inputs.gallery.std(axis=0) + 1e-6
    probe = LogisticRegression(max_iter=300).fit((inputs.gallery - middle) / scale, inputs.gallery_people)
    guess = probe.predict((inputs.queries - middle) / scale)
    return by_group("probe_recall", guess == inputs.query_people, inputs)
