"""A deletion request for a trained classifier: an unlearned model, evidence that can be checked, a list of what else
must go.

Modules: `request_file` (the YAML request), `case` (data, model and sets), `recommend`, `references` (retrained
models), `trace` (the fixed statistic), `verdict` (the pre-registered rule), `evidence`, `record` (the report),
`verify`, `purge`, `ledger`. `python -m workflow.deletion` is the command line.
"""
