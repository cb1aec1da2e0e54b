"""Instructor: objects out of a model, by a tool call and by a JSON schema."""

import instructor
import openai
from endpoint import BASE_URL, KEY, MODEL
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0), mode=mode)
    city = client.chat.completions.create(
        model=MODEL, response_model=City, max_retries=0, messages=[{"role": "user", "content": "Tell me of Paris."}]
    )
    assert isinstance(city, City), mode
