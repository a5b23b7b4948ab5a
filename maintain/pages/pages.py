"""Cells that only read the repository: `cookbook render` runs them itself, so that no page shows an old record.

Such a cell has the tag `from-records`, stands on its own (imports included) and ends in an expression. What it
shows as text decides whether a committed output still holds: a figure is drawn anew only when its text differs,
since the bytes of a picture depend on the versions of what drew it.
"""

import ast
import base64

import nbformat
from nbformat import NotebookNode

TAG = "from-records"
SHOWN = {"_repr_markdown_": "text/markdown", "_repr_png_": "image/png"}


def reads_records(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and TAG in cell.metadata.get("tags", [])


def fill(notebook: NotebookNode) -> NotebookNode:
    """Give every cell that only reads the repository the output that it has today."""
    for cell in notebook.cells:
        if reads_records(cell):
            value = evaluated(cell.source)
            if not holds(cell, value):
                data, about = shown(value)
                output = nbformat.v4.new_output("execute_result", data=data, metadata=about, execution_count=1)
                cell.outputs = [output]
            cell.execution_count = cell.execution_count or 1
    return numbered(notebook)


def holds(cell: NotebookNode, value: object) -> bool:
    """Whether the committed output says what the value says, picture aside."""
    if len(cell.outputs) != 1 or "data" not in cell.outputs[0]:
        return False
    kept, (now, _) = dict(cell.outputs[0].data), shown(value, pictures=False)
    if {kind: "".join(text) for kind, text in kept.items() if kind != "image/png"} != now:
        return False
    described = "alt" in cell.outputs[0].metadata.get("image/png", {})
    return not hasattr(value, "_repr_png_") or ("image/png" in kept and described)


def evaluated(source: str) -> object:
    """The value of a cell's last expression, its statements run in a namespace of their own."""
    *statements, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        raise ValueError(f"a cell with the tag {TAG} ends in an expression: {source}")
    namespace: dict[str, object] = {}
    exec(compile(ast.Module(statements, []), "<cell>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)


def shown(value: object, pictures: bool = True) -> tuple[dict[str, str], dict[str, dict]]:
    """A value as a notebook holds it: text, Markdown, a picture; and what is said about the picture."""
    data, about = {"text/plain": repr(value)}, {}
    for method, kind in SHOWN.items():
        if hasattr(value, method) and (pictures or kind != "image/png"):
            found = getattr(value, method)()
            if isinstance(found, tuple):
                found, about[kind] = found
            data[kind] = base64.b64encode(found).decode() + "\n" if isinstance(found, bytes) else found
    return dict(sorted(data.items())), about


def numbered(notebook: NotebookNode) -> NotebookNode:
    """Count the cells that ran from 1; one that did not run has no number, and no output."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not (cell.execution_count or cell.outputs):
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return notebook
