"""vLLM's own argument parser and its table of environment variables, asked about many commands in one process.

Importing vLLM costs about 20 CPU-seconds, so one call takes every command. Run with the stack's interpreter:

    STACK_PYTHON -m helpers.instack.flags < request.json > answer.json

The request is {"commands": [{"id": "...", "argv": ["serve", "MODEL", ...], "env": {"VLLM_X": "1"}}]}. The answer
names the vLLM version and, per command, its faults: {"id", "kind": "flag" | "variable", "name", "message"} and
what vLLM warned about while it parsed (deprecated options, duplicate keys).
"""

import contextlib
import ctypes
import io
import json
import logging
import os
import re
import sys
import types

KERNELS = ("vllm._C_stable_libtorch", "vllm._moe_C_stable_libtorch")  # what vllm/platforms/cuda.py imports


class ParserRefusal(Exception):
    """The parser does not take the command."""


def declared_platform() -> str:
    """The platform that vLLM detected; a CUDA build on a host without a GPU is declared CUDA.

    vLLM infers the device while it builds its parser and gives up where there is none. Which options exist
    does not depend on the GPU, so the build's own platform stands in for it; its kernels, which link to the
    driver's libcuda.so.1 and which the parser never calls, are left out where that library is missing.
    """
    from vllm import platforms

    if not platforms.current_platform.is_unspecified():
        return platforms.current_platform.device_name
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        for name in KERNELS:
            sys.modules[name] = types.ModuleType(name)
    from vllm.platforms.cuda import NonNvmlCudaPlatform

    platforms._current_platform = NonNvmlCudaPlatform()
    return "cuda (declared: no GPU on this host)"


class Parser:
    """`vllm`'s command line, with its errors raised instead of printed."""

    def __init__(self) -> None:
        self.platform = declared_platform()
        import vllm
        from vllm import envs
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.entrypoints.cli.serve import ServeSubcommand
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        class Raising(FlexibleArgumentParser):
            def error(self, message: str):
                raise ParserRefusal(message)

        self.version = vllm.__version__
        self.variables = envs.environment_variables
        self.engine_args = AsyncEngineArgs
        self.command = ServeSubcommand()
        self.root = Raising(description="vllm")
        self.serve = self.command.subparser_init(
            self.root.add_subparsers(required=False, dest="subparser", parser_class=Raising)
        )
        self.not_checked: list[str] = []
        self.late_checks = [check for check in (self._parsers_check(), self._attention_check()) if check]
        self.warnings: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: self.warnings.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("vllm").addHandler(handler)

    def _parsers_check(self):
        """vLLM looks up the names of tool-call and reasoning parsers only when the API server starts."""
        try:
            from vllm.reasoning import ReasoningParserManager
            from vllm.tool_parsers import ToolParserManager
        except ImportError:
            self.not_checked.append("names of tool-call and reasoning parsers (moved in this vLLM)")
            return None
        registered = {
            "tool_call_parser": set(ToolParserManager.list_registered()),
            "reasoning_parser": set(ReasoningParserManager.list_registered()),
        }

        def check(args):
            for option, names in registered.items():
                value = getattr(args, option, None)
                if value and value not in names:
                    flag = "--" + option.replace("_", "-")
                    raise ParserRefusal(f"argument {flag}: {value!r} is not registered")

        return check

    def _attention_check(self):
        """vLLM turns the attention backend's name into its enumeration only when it builds the engine."""
        try:
            from vllm.v1.attention.backends.registry import AttentionBackendEnum
        except ImportError:
            self.not_checked.append("names of attention backends (moved in this vLLM)")
            return None

        def check(args):
            value = getattr(args, "attention_backend", None)
            if isinstance(value, str) and value.upper() not in {"AUTO", *AttentionBackendEnum.__members__}:
                raise ParserRefusal(f"argument --attention-backend: {value!r} is not an attention backend")

        return check

    def unknown_flags(self, argv: list[str]) -> list[str]:
        """Options that the parser does not have by exactly this name (argparse would take abbreviations)."""
        words = list(argv)
        if "--config" in argv:
            words += self.serve.load_config_file(argv[argv.index("--config") + 1])
        names = {word.split("=")[0].split(".")[0] for word in words if word.startswith("--")}
        known = self.serve._option_string_actions
        return sorted(name for name in names if "--" + name[2:].replace("_", "-") not in known)

    def flag_faults(self, argv: list[str]) -> list[dict]:
        """What is wrong with the words after `vllm`, each fault with the option it is about."""
        faults = [{"kind": "flag", "name": name, "message": "unknown option"} for name in self.unknown_flags(argv)]
        if faults:
            return faults
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                args = self.root.parse_args(argv)
                if getattr(args, "model_tag", None):
                    args.model = args.model_tag
                self.command.validate(args)
                self.engine_args.from_cli_args(args)
                for check in self.late_checks:
                    check(args)
        except (Exception, SystemExit) as error:
            message = " ".join(str(error).split()) or type(error).__name__
            named = re.search(r"--[a-z0-9][a-z0-9-]*", message)
            return [{"kind": "flag", "name": named.group() if named else "", "message": message[:400]}]
        return []

    def variable_faults(self, env: dict[str, str]) -> list[dict]:
        """VLLM_* variables that vLLM does not know, or whose value it refuses."""
        faults = []
        for name, value in env.items():
            if not name.startswith("VLLM_"):
                continue
            if name not in self.variables:
                faults.append({"kind": "variable", "name": name, "message": "unknown to vllm.envs"})
                continue
            before = os.environ.get(name)
            os.environ[name] = value
            try:
                self.variables[name]()
            except Exception as error:
                faults.append({"kind": "variable", "name": name, "message": f"value {value!r} refused: {error}"})
            finally:
                os.environ.pop(name)
                if before is not None:
                    os.environ[name] = before
        return faults

    def check(self, command: dict) -> dict:
        """The faults and warnings of one command."""
        self.warnings.clear()
        faults = self.flag_faults(command["argv"]) + self.variable_faults(command.get("env", {}))
        return {"id": command["id"], "faults": faults, "warnings": sorted(set(self.warnings))}


def main() -> None:
    """Answer one request from stdin."""
    request = json.load(sys.stdin)
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to stdout while it is imported: the answer keeps its own way out
    parser = Parser()
    answers = [parser.check(command) for command in request["commands"]]
    answer = {"vllm": parser.version, "platform": parser.platform}
    answer |= {"not_checked": parser.not_checked, "answers": answers}
    json.dump(answer, answer_to)
    answer_to.close()


if __name__ == "__main__":
    main()
