from forget_lib import catalogue
from forget_lib.results import REPOSITORY
from forget_lib.unlearning import list_methods


def test_the_readme_holds_the_generated_tables_as_they_are_now():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert catalogue.filled(text) == text, "run: python -m forget_lib.catalogue"
    assert all(f"`{name}`" in text for name in list_methods())


def test_the_readme_lists_every_notebook():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{path.name}" in text for path in (REPOSITORY / "notebooks").glob("*.ipynb"))


def test_bars_and_line_breaks_do_not_break_a_table():
    assert catalogue.table(["a", "b"], [["x|y", "1\n2"]]).splitlines()[-1] == r"| x\|y | 1 2 |"


def test_formulas_of_docstrings_become_markdown():
    assert catalogue.as_markdown(r"Minimise :math:`KL(u \| p)`.") == r"Minimise $KL(u \Vert  p)$."
