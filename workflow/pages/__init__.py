"""From notebooks to pages: run one in batch, write it as a self-contained HTML page, link all pages of a profile.

python -m workflow.pages run NOTEBOOK --parameters JSON --output OUT.ipynb --page OUT.html --log LOG
python -m workflow.pages index results/PROFILE
python -m workflow.pages compare results/PROFILE [--reference FOLDER]
"""
