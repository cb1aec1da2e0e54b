"""Pydantic AI: an agent that calls a tool, and one whose answer is an object."""

from endpoint import BASE_URL, KEY, MODEL
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=KEY))
asked = []
agent = Agent(model)


@agent.tool_plain
def weather(city: str) -> str:
    """Tell the weather of a city."""
    asked.append(city)
    return "sunny"


assert agent.run_sync("What is the weather in Paris?").output
assert asked
assert isinstance(Agent(model, output_type=City).run_sync("Tell me of Paris.").output, City)
