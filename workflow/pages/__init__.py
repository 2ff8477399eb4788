"""From notebooks to pages: run one in batch, write it as a self-contained HTML page, link all pages of a profile.

    python -m workflow.pages run NOTEBOOK --parameters JSON --output OUT.ipynb --page OUT.html --log LOG
    python -m workflow.pages page EXECUTED.ipynb PAGE.html
    python -m workflow.pages index results/PROFILE
    python -m workflow.pages compare results/PROFILE [--reference FOLDER]

Modules: `run` (run_notebook), `page` (export_html), `index` (write_index), `compare` (report),
`files` (writing whole or not at all).
They are imported one by one, so that running a notebook does not wait for what only the index needs.
"""
