"""Run one cell the way a notebook does. This file's text travels into every sandbox: stdlib only.

A cell is compiled as statements; where the last one is an expression, its repr is printed. State
lives in one namespace for the life of the interpreter.
"""

import ast
import sys

NAMESPACE = {"__name__": "__main__", "__builtins__": __builtins__}


class TimeLimit(BaseException):
    """The soft time limit: a BaseException, so that `except Exception` does not swallow it."""


def run_cell(code, count):
    """Run `code` as cell number `count`; returns "ok", "error" or "time". Prints what a notebook would."""
    name = f"<cell {count}>"
    try:
        import linecache

        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree = ast.parse(code, name)
        last = None
        if tree.body and isinstance(tree.body[-1], ast.Expr):
            last = ast.Expression(tree.body.pop().value)
        exec(compile(tree, name, "exec"), NAMESPACE)
        if last is not None:
            value = eval(compile(last, name, "eval"), NAMESPACE)
            if value is not None:
                NAMESPACE["_"] = value
                print(repr(value))
        return "ok"
    except TimeLimit:
        return "time"
    except SystemExit as stop:
        if stop.code not in (None, 0):
            print(f"SystemExit: {stop.code}")
            return "error"
        return "ok"
    except BaseException as error:
        return report(error)
    finally:
        flush()


def report(error):
    """Print the traceback from the cell's own frames on."""
    try:
        import traceback

        frames = error.__traceback__
        while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<cell"):
            frames = frames.tb_next
        lines = traceback.format_exception(type(error), error, frames, limit=-12)
        print("".join(lines), end="")
    except BaseException as second:
        print(f"{type(error).__name__} (and its traceback could not be printed: {type(second).__name__})")
    return "error"


def flush():
    """Flush both streams; a program may have replaced or closed them, which is its own business."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib would be one more thing for a program to sabotage)
            stream.flush()
        except BaseException:
            pass
