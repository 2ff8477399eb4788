"""What counts as equal, different and found: every threshold behind a verdict, in one place, fixed before looking."""

CONTROLS = ("original", "retrain", "second_retrain")
"""Models that methods are compared with; they are not judged themselves."""
PLACEBOS = ("do_nothing", "mask_logit", "over_forget")
"""They forget nothing, hide it at the output, or overdo it: rows of their own, never counted among methods."""
BASELINES = ("short_retrain", "untrained")
"""They never saw the forget set: a retraining cut short, which a method must beat at the same cost, and no training."""
MARGINS = {"accuracy": 0.02, "auc": 0.02, "share_left": 0.05, "separation": 0.2}
"""Margins of equality with the retrained model: shares of samples, areas, share of the influence, d' in pooled SDs."""
PAIRS_FOR_EQUALITY = 6
"""Fewest pairs (draw, seed) from which a method may be called as retrained."""
PAIRS_FOR_DIFFERENCE = 3
"""Fewest pairs from which a difference may be stated, its interval lying outside the margin."""
ALPHA = 0.05
"""Level of every test, after Holm's adjustment within a family."""
WEAK = "loss_regression"
"""The usual membership test, without reference models."""
PRIMARY = "u_lira"
"""The strong attack that a verdict rests on; the others are exploratory."""
