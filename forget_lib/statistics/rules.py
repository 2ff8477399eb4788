"""What counts as near, equal and found: every threshold behind a verdict, in one place and fixed before looking."""

CONTROLS = ("original", "retrain", "second_retrain")
"""Models that methods are compared with; they are not judged themselves."""
MARGIN = 0.05
"""Forget accuracy this close to the retrained model's counts as near it, and so does a loss of utility."""
MARGINS = {"accuracy": 0.01, "auc": 0.02}
"""Margins of equality with the retrained model (a profile's `margins` override them)."""
ALPHA = 0.05
"""Level of every test, after Holm's adjustment within a family."""
WEAK = "loss_regression"
"""The usual membership test, without reference models."""
STRONG = ("rmia", "lira", "u_lira")
"""Attacks with reference models that a finding may rest on."""
POWER = 10
"""The positive control must lie this many standard errors above its null, or nothing is ranked."""
