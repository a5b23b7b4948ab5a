"""The parameters of a target notebook, checked in one place for papermill, the command line and the panel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from helpers import redact
from helpers.errors import UsageError
from helpers.recipes.target import Activation, Profile, Target

Count = Annotated[int, Field(gt=0)]
KINDS = ("hub", "synthetic", "nano")  # anything else in `weights` is the path of a checkpoint folder
NANO = "gpt-oss-nano"


class Parameters(BaseModel):
    """What a run can be asked for; `check_parameters` fills in a target's defaults and checks against it."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    model: str = Field(description="which gpt-oss: one of the target's models")
    weights: str = Field("hub", description="hub, synthetic, nano, or the path of a checkpoint folder")
    tensor_parallel_size: Count = Field(1, description="devices that one copy of the model is split over")
    replicas: Count = Field(1, description="copies of the server behind the router")
    profile: Profile = Field("throughput", description="latency or throughput; others where the target has them")
    activations: Activation = Field("bf16", description="MoE activations: bf16, or mxfp8 on Blackwell")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="port on loopback; 0: a free one")
    install: Literal["stack", "existing"] = Field(
        "stack", description="stack: the pinned environment; existing: the Python that already holds vLLM"
    )
    rehearse: bool = Field(
        False, description="run every cell on the CPU stack with gpt-oss-nano and a small sweep of its own"
    )
    concurrency: Annotated[list[Count], Field(min_length=1)] = Field(
        [1, 2, 4, 8], description="requests in flight, one point of the sweep each"
    )
    input_tokens: Count = Field(1024, description="prompt length of the sweep")
    output_tokens: Count = Field(1024, description="answer length of the sweep")
    run_dir: str = Field("", description="the run's folder; empty for a new one under runs/")
    keep_server: bool = Field(False, description="leave the server running at the end")
    restart: Literal["no", "on-failure"] = Field(
        "no", description="on-failure: start the server anew when it ends by itself, three times an hour at most"
    )

    @field_validator("port")
    @classmethod
    def _port_usable(cls, value: int) -> int:
        if 0 < value < 1024:
            raise ValueError("allowed: 1024 to 65535, or 0 for a free one (vLLM refuses ports below 1024)")
        return value

    @field_validator("weights")
    @classmethod
    def _weights_exist(cls, value: str) -> str:
        if value not in KINDS and not Path(value).expanduser().is_dir():
            raise ValueError(f"allowed: {', '.join(KINDS)} or the path of a folder that exists")
        return value

    @field_validator("run_dir")
    @classmethod
    def _run_dir_usable(cls, value: str) -> str:
        found = Path(value).expanduser().absolute()
        there = next(path for path in (found, *found.parents) if path.exists())
        if value and not there.is_dir():
            raise ValueError(f"{there} is a file; allowed: the path of a folder, which is made if it is not there")
        return value

    @property
    def weights_kind(self) -> str:
        """hub, synthetic, nano or path: how a record names the weights."""
        return self.weights if self.weights in KINDS else "path"


def layout(tensor_parallel_size: int, replicas: int) -> str:
    """Parallelism and copies as tables name them.

    >>> layout(2, 1), layout(1, 4)
    ('TP2', '4 x TP1')
    """
    return ("" if replicas == 1 else f"{replicas} x ") + f"TP{tensor_parallel_size}"


def check_parameters(target: Target, values: Mapping[str, Any] | None = None) -> Parameters:
    """The parameters of a run on `target`: what was given, the recipe's defaults for the rest.

    None, "" for model, weights and profile, and 0 for tensor_parallel_size stand for the recipe's default: a
    notebook's literals cannot know which model papermill will inject. Raises one `UsageError` that lists every
    fault with the parameter's name, what was given and what is allowed.
    """
    given = {name: value for name, value in (values or {}).items() if not _left_open(name, value)}
    model = given.get("model", target.defaults.model)
    defaults = target.defaults.model_dump()
    if isinstance(model, str) and model in target.models:
        defaults["tensor_parallel_size"] = target.models[model].default
    if "weights" not in given and model != target.defaults.model:
        defaults["weights"] = "nano" if model == NANO else "hub"
    if "concurrency" in given:  # on a command line a list comes as the string 1,2,4 and one value as an int
        given["concurrency"] = _as_list(given["concurrency"])
    faults: list[str] = []
    try:
        parameters = Parameters(**{**defaults, **given})
    except ValidationError as error:
        faults = [_fault(item, defaults | given) for item in error.errors(include_url=False)]
        broken = {str(item["loc"][0]) for item in error.errors(include_url=False) if item["loc"]}
        sound = {name: value for name, value in (defaults | given).items() if name not in broken}
    else:
        sound = parameters.__dict__
    faults += _against_target(target, sound)
    if faults:
        count = f"{len(faults)} faults" if len(faults) > 1 else "a fault"
        raise UsageError(f"{count} in the parameters of {target.target}: " + " | ".join(faults))
    return parameters


def _left_open(name: str, value: Any) -> bool:
    """Whether a value says "the recipe's own"."""
    if value is None or (value == "" and name in ("model", "weights", "profile")):
        return True
    return name == "tensor_parallel_size" and value == 0 and not isinstance(value, bool)


def _as_list(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, str):
        parts = [part.strip() for part in value.strip("[] ").split(",")]
        if all(part.isdigit() for part in parts):
            return [int(part) for part in parts]
    return value


def _fault(item: Any, values: Mapping[str, Any]) -> str:
    name = str(item["loc"][0]) if item["loc"] else "parameters"
    if item["type"] == "extra_forbidden":
        allowed = ", ".join(Parameters.model_fields)
        return f"{name}: unknown parameter (given {redact.shown(name, item['input'])}); allowed: {allowed}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "list_type":  # the only list there is
        message = "allowed: whole numbers, as in [1, 16] or 1,16"
    given = values.get(name)
    return f"{name}: given {given!r} ({type(given).__name__}); {message[:1].lower()}{message[1:]}"


def _against_target(target: Target, given: Mapping[str, Any]) -> list[str]:
    """Faults that only the target's recipe can see; parameters that are already broken are absent."""
    faults = []
    model, size = given.get("model"), given.get("tensor_parallel_size")
    if model is not None and model not in target.models:
        faults.append(f"model: given {model!r}; allowed on {target.target}: {', '.join(target.models)}")
    elif model is not None and size is not None:
        offered = target.models[model].tensor_parallel_size
        if size not in offered:
            faults.append(
                f"tensor_parallel_size: given {size}; allowed for {model} on {target.target}: "
                + ", ".join(str(one) for one in offered)
            )
    profile = given.get("profile")
    if profile in get_args(Profile) and profile not in target.serve.profiles:
        allowed = ", ".join(target.serve.profiles)
        faults.append(f"profile: given {profile!r}; allowed on {target.target}: {allowed}")
    replicas = given.get("replicas")
    if not faults and not (model is None or size is None or profile is None or replicas is None):
        why = unusable(target, model, size, profile, replicas)
        faults += [why] if why else []
    if given.get("activations") == "mxfp8" and not target.serve.activations:
        faults.append(f"activations: given 'mxfp8'; allowed on {target.target}: bf16 (mxfp8 needs Blackwell)")
    weights = given.get("weights")
    if weights == "nano" and model in target.models and model != NANO and not given.get("rehearse"):
        faults.append(f"weights: given 'nano' for {model}; allowed: hub, synthetic, a path, or rehearse=true")
    if model == NANO and weights in {"hub", "synthetic"}:
        faults.append(f"weights: given {weights!r} for {NANO}; allowed: nano or a path")
    return faults


def unusable(target: Target, model: str, size: int, profile: str, replicas: int) -> str:
    """Why values that are each offered do not go together; "" when they do. `size` is the tensor-parallel size."""
    most = max(target.device.per_host, *(max(one.tensor_parallel_size) for one in target.models.values()))
    if target.match.vendor != "cpu" and replicas > 1 and replicas * size > most:
        return (
            f"replicas: given {replicas} of tensor_parallel_size {size}; "
            f"allowed on {target.target}: a product of up to {most}, the devices of one machine"
        )
    if profile != "evals":
        return ""
    needed = target.serve.profiles["evals"].args.get("max-model-len")
    asked = int(str(needed.value)) if needed else 0
    length = _length(target, model, size, asked)
    if length >= asked:
        return ""
    sizes = [one for one in target.models[model].tensor_parallel_size if _length(target, model, one, asked) >= asked]
    return (
        f"profile: given 'evals' for {model} with tensor_parallel_size {size}, where memory allows {length:,} tokens and "
        f"each request of the evals asks for {asked:,}, so that the score would be 0; "
        f"allowed: tensor_parallel_size {', '.join(map(str, sizes)) or '(none)'}"
    )


def _length(target: Target, model: str, size: int, asked: int) -> int:
    """The max-model-len of the evals' deployment: a model's own length and known limits win over what is asked."""
    length = target.models[model].max_model_len or asked
    for limit in target.limits(model, size, "evals"):
        if "max-model-len" in limit.avoid.args:
            length = int(str(limit.avoid.args["max-model-len"].value))
    return length
