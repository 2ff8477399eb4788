import re

from forget_lib.attacks import get_attack, list_attacks
from forget_lib.core.registry import Source
from forget_lib.show import catalogue
from forget_lib.unlearning import get_method, list_methods


def test_papers_are_linked_one_by_one():
    text = catalogue.source(Source("Graves; Fan", "2010.10981 2310.12508"))
    assert text == "[Graves](https://arxiv.org/abs/2010.10981); [Fan](https://arxiv.org/abs/2310.12508)"
    assert catalogue.source(get_method("uniform_kl").source).startswith("this project's first experiments; [stage 1")
    assert catalogue.source(Source("exact, by definition")) == "exact, by definition"
    for entry in [*map(get_method, list_methods()), *map(get_attack, list_attacks())]:
        numbers = entry.source.arxiv.split()
        assert len(numbers) in (0, len(entry.paper.split("; "))), entry.name
        assert all(re.fullmatch(r"\d{4}\.\d{5}|-", number) for number in numbers), entry.name


def test_bars_and_line_breaks_do_not_break_a_table():
    assert catalogue.table(["a", "b"], [["x|y", "1\n2"]]).splitlines()[-1] == r"| x\|y | 1 2 |"


def test_formulas_of_docstrings_become_markdown():
    assert catalogue.as_markdown(r"Minimise :math:`KL(u \| p)`.") == r"Minimise $KL(u \Vert  p)$."


def test_the_table_of_methods_says_of_each_what_it_is_and_where_it_comes_from():
    page = catalogue.methods_table(idea=False).splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page[2:]]
    assert [row[0].strip("`") for row in rows] == list_methods()
    for name, (_, _, family, uses, needs, source) in zip(list_methods(), rows, strict=True):
        entry = get_method(name)
        assert family
        assert source
        assert entry.uses == uses
        assert all(need in needs for need in entry.needs)


def test_the_table_of_formulas_says_what_each_method_was_checked_against():
    page = catalogue.formulas_table().splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page[2:]]
    for name, (_, what, public) in zip(list_methods(), rows, strict=True):
        entry = get_method(name)
        assert "$" in what, f"{name}: its docstring has no formula"
        ours = entry.control or name == "uniform_kl"
        status = entry.source.status
        assert (status in ("V", "P", "M")) != ours, f"{name}: it has no status"
        assert ours or public.startswith(f"**{status}** {entry.title}")
        assert "Settings:" not in what


def test_the_code_of_a_method_unfolds_as_it_stands_in_its_file():
    text = catalogue.source_of("ssd")
    assert text.startswith('<details class="code"><summary>')
    assert "def ssd(" in text
    assert "-&gt; nn.Module" in text  # escaped
