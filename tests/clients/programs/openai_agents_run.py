"""OpenAI's Agents SDK: a run with a function tool, over chat completions and over responses."""

import asyncio

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from endpoint import BASE_URL, KEY, MODEL
from openai import AsyncOpenAI

asked = []


@function_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    asked.append(city)
    return "sunny"


async def main() -> None:
    """Run an agent on each of the two APIs, and stream one."""
    client = AsyncOpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
    for model in (OpenAIChatCompletionsModel(MODEL, client), OpenAIResponsesModel(MODEL, client)):
        asked.clear()
        agent = Agent("helper", instructions="Use your tools.", model=model, tools=[weather])
        result = await Runner.run(agent, "What is the weather in Paris?")
        assert asked, type(model)
        assert result.final_output, type(model)
    streamed = Runner.run_streamed(Agent("talker", model=OpenAIChatCompletionsModel(MODEL, client)), "Hello")
    kinds = {event.type async for event in streamed.stream_events()}
    assert "raw_response_event" in kinds
    assert streamed.final_output


set_tracing_disabled(disabled=True)
asyncio.run(main())
