"""What users write with each framework, run with the clients' own environment: a plain turn and a turn with a tool.

python programs.py BASE_URL MODEL CLIENT...    # a line of JSON for each: answers, calls that were carried out, what failed
"""

import asyncio
import json
import os
import sys
import traceback

PLAIN, WITH_TOOL = "What is the capital of France?", "What is the weather in Paris?"
KEY = "none"
called: list[str] = []


def get_weather(city: str) -> str:
    """Get the current weather for a city.

    Args:
        city: the city
    """
    called.append(city)
    return json.dumps({"temperature": 18})


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def openai_agents(base: str, model: str):
    import agents
    from openai import AsyncOpenAI

    agents.set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=base, api_key=KEY)
    for kind in (agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel):
        served = kind(model=model, openai_client=client)
        settings = agents.ModelSettings(temperature=0)
        agent = agents.Agent("cookbook", model=served, model_settings=settings)
        yield agents.Runner.run_sync(agent, PLAIN).final_output
        agent = agents.Agent(
            "cookbook", model=served, model_settings=settings, tools=[agents.function_tool(get_weather)]
        )
        yield agents.Runner.run_sync(agent, WITH_TOOL).final_output


def langchain(base: str, model: str):
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    llm = ChatOpenAI(base_url=base, api_key=KEY, model=model, temperature=0)
    yield llm.invoke(PLAIN).content
    agent = create_agent(llm, [get_weather])
    yield agent.invoke({"messages": [{"role": "user", "content": WITH_TOOL}]})["messages"][-1].content


def llamaindex(base: str, model: str):
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(
        model=model, api_base=base, api_key=KEY, is_chat_model=True, is_function_calling_model=True, temperature=0
    )
    yield llm.complete(PLAIN).text
    agent = FunctionAgent(tools=[get_weather], llm=llm, streaming=False)

    async def run() -> str:
        return str(await agent.run(WITH_TOOL))

    yield asyncio.run(run())


def pydantic_ai(base: str, model: str):
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        served = kind(model, provider=OpenAIProvider(base_url=base, api_key=KEY))
        settings = {"temperature": 0}
        yield Agent(served, model_settings=settings).run_sync(PLAIN).output
        yield Agent(served, model_settings=settings, tools=[get_weather]).run_sync(WITH_TOOL).output


def smolagents(base: str, model: str):
    from smolagents import OpenAIModel, ToolCallingAgent, tool

    served = OpenAIModel(model_id=model, api_base=base, api_key=KEY, temperature=0, max_tokens=300)
    yield served([{"role": "user", "content": PLAIN}]).content
    agent = ToolCallingAgent(tools=[tool(get_weather)], model=served, max_steps=2, verbosity_level=0)
    yield str(agent.run(WITH_TOOL))


def anthropic(base: str, model: str):
    from anthropic import Anthropic

    client = Anthropic(base_url=base.removesuffix("/v1"), api_key=KEY)
    ask = {"model": model, "max_tokens": 300, "extra_body": {"temperature": 0}}
    reply = client.messages.create(messages=[{"role": "user", "content": PLAIN}], **ask)
    yield "".join(part.text for part in reply.content if part.type == "text")
    tools = [{"name": "get_weather", "description": "Get the current weather for a city.", "input_schema": SCHEMA}]
    history = [{"role": "user", "content": WITH_TOOL}]
    reply = client.messages.create(messages=history, tools=tools, **ask)
    results = [
        {"type": "tool_result", "tool_use_id": part.id, "content": get_weather(**part.input)}
        for part in reply.content
        if part.type == "tool_use"
    ]
    history += [{"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
    with client.messages.stream(messages=history, tools=tools, **ask) as stream:
        yield stream.get_final_text()


def litellm_proxy(base: str, model: str):
    """Both turns through LiteLLM's proxy, which asks the server: as a client of OpenAI would."""
    from openai import OpenAI

    client = OpenAI(base_url=base, api_key=os.environ["LITELLM_MASTER_KEY"])
    ask = {"model": model, "temperature": 0}
    plain = client.chat.completions.create(messages=[{"role": "user", "content": PLAIN}], **ask)
    yield plain.choices[0].message.content
    function = {"name": "get_weather", "description": "Get the current weather for a city.", "parameters": SCHEMA}
    tools = [{"type": "function", "function": function}]
    history = [{"role": "user", "content": WITH_TOOL}]
    message = client.chat.completions.create(messages=history, tools=tools, **ask).choices[0].message
    history.append(message.model_dump())
    for call in message.tool_calls or []:
        result = get_weather(**json.loads(call.function.arguments))
        history.append({"role": "tool", "tool_call_id": call.id, "content": result})
    yield client.chat.completions.create(messages=history, tools=tools, **ask).choices[0].message.content


def litellm(base: str, model: str):
    import litellm

    litellm.telemetry = False
    ask = {"model": f"hosted_vllm/{model}", "api_base": base, "api_key": KEY, "temperature": 0}
    yield litellm.completion(messages=[{"role": "user", "content": PLAIN}], **ask).choices[0].message.content
    function = {"name": "get_weather", "description": "Get the current weather for a city.", "parameters": SCHEMA}
    tools = [{"type": "function", "function": function}]
    history = [{"role": "user", "content": WITH_TOOL}]
    message = litellm.completion(messages=history, tools=tools, **ask).choices[0].message
    history.append(message)
    for call in message.tool_calls or []:
        result = get_weather(**json.loads(call.function.arguments))
        history.append({"role": "tool", "tool_call_id": call.id, "content": result})
    yield litellm.completion(messages=history, tools=tools, **ask).choices[0].message.content


CLIENTS = {
    program.__name__: program
    for program in (openai_agents, langchain, llamaindex, pydantic_ai, smolagents, anthropic, litellm, litellm_proxy)
}

if __name__ == "__main__":
    base, model, *names = sys.argv[1:]
    for name in names:
        called.clear()
        answers, failed = [], ""
        try:
            answers += CLIENTS[name](base, model)
        except Exception:
            failed = traceback.format_exc()
        print(json.dumps({"client": name, "answers": answers, "called": called, "failed": failed}), flush=True)
