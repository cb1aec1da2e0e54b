"""LangChain's ChatOpenAI: invoke, stream, a bound tool, a structured answer."""

from endpoint import BASE_URL, KEY, MODEL
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


chat = ChatOpenAI(base_url=BASE_URL, api_key=KEY, model=MODEL, max_tokens=200, max_retries=0)

answer = chat.invoke("What is the capital of France?")
assert answer.content
assert answer.usage_metadata["output_tokens"] > 0
assert "".join(part.content for part in chat.stream("And of Spain?"))
called = chat.bind_tools([weather], tool_choice="weather").invoke("What is the weather in Paris?")
assert called.tool_calls[0]["name"] == "weather"
assert isinstance(called.tool_calls[0]["args"]["city"], str)
assert isinstance(chat.with_structured_output(City).invoke("Tell me of Paris."), City)
