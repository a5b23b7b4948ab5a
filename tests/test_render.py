"""What is generated is up to date: the notebooks from template and recipe, the README's table from a record."""

import nbformat

from helpers.render import notebook, readme
from helpers.render.notebook import from_source, keep_outputs, text_of

SOURCE = "# %% [markdown]\n# # Title\n\n# %%\nx = 1\nprint(x)\n\n# %%\nprint(2)\n"


def test_the_cpu_notebook_is_what_its_recipe_renders() -> None:
    assert notebook.path_of("cpu").read_text() == text_of(notebook.render("cpu"))


def test_the_readme_is_up_to_date() -> None:
    assert readme.README.read_text() == readme.rendered()


def test_a_changed_cell_loses_its_output_and_the_others_keep_theirs() -> None:
    old = from_source(SOURCE)
    for count, cell in enumerate(cell for cell in old.cells if cell.cell_type == "code"):
        cell.execution_count = count + 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"{count}\n")]
    new = keep_outputs(from_source(SOURCE.replace("print(2)", "print(3)")), old)
    code = [cell for cell in new.cells if cell.cell_type == "code"]
    assert code[0].outputs and not code[1].outputs and code[1].execution_count is None


def test_rendering_twice_gives_the_same_bytes() -> None:
    assert text_of(from_source(SOURCE)) == text_of(from_source(SOURCE))


def test_a_readme_block_is_replaced_and_nothing_else() -> None:
    text = "a\n<!-- begin:x -->\nold\n<!-- end:x -->\nb\n"
    assert readme.with_block(text, "x", "new") == "a\n<!-- begin:x -->\nnew\n<!-- end:x -->\nb\n"
