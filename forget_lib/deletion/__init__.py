"""A deletion request for a trained classifier: an unlearned model, evidence that can be checked, a list of what else
must go.

Modules, in the order of a request: `request` (the YAML file), `case` (data, model and sets), `recommend`, `references`
(retrained models, of each of which `measure` keeps numbers), `verdict` (the fixed statistic and the pre-registered
rule), `evidence`, `answer` (all of it), `report`, then `verify`, `purge` and the `ledger`. `python -m
workflow.deletion` is the command line.
"""
