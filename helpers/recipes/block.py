"""What a server is started with: every flag and variable of a recipe for one choice of parameters, with its reason."""

from helpers.recipes import Block, Model, Parameters, Setting, Target, load_common


def serve_block(target: Target, model: Model, parameters: Parameters) -> Block:
    """All flags and variables with their reasons, from the general to the special; known limits win."""
    serve, name, size = target.serve, model.model, parameters.tensor_parallel_size
    layers: list[Block] = [serve, serve.profiles[parameters.profile]]
    if parameters.activations in serve.activations:
        layers.append(serve.activations[parameters.activations])
    layers.append(serve.per_tp.get(size, Block()))
    if name in serve.per_model:
        own = serve.per_model[name]
        layers += [own, own.per_tp.get(size, Block()), own.profiles.get(parameters.profile, Block())]
    layers.append(_sizes(target, model, parameters))
    layers += [limit.avoid for limit in target.limits(name, size, parameters.profile, parameters.replicas)]
    return load_common().merged(*layers)


def _sizes(target: Target, model: Model, parameters: Parameters) -> Block:
    """The flags that follow from the chosen sizes and not from a reason of their own."""
    source = f"recipes/targets/{target.target}.yaml models.{model.model}"
    sizes, args = target.models[model.model], {}
    if parameters.tensor_parallel_size > 1:
        args["tensor-parallel-size"] = Setting(
            value=parameters.tensor_parallel_size, why="the parameter tensor_parallel_size", source=source
        )
    if sizes.max_model_len is not None:
        args["max-model-len"] = Setting(
            value=sizes.max_model_len, why="the longest context that the memory budget allows", source=source
        )
    return Block(args=args)
