"""Tool servers for gpt-oss: `python` in a sandbox, `browser` over a corpus or the web, both over MCP.

`start(...)` launches both under supervision and returns `ToolServers`, whose `.argument` is what
`vllm serve --tool-server` takes; the function-calling loop lives in `functions`, the readable
trace in `trace`. Everything heavy is imported on first use.
"""

_HOMES = {"start": "servers", "ToolServers": "servers", "Toolbox": "functions", "Trace": "trace"}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
