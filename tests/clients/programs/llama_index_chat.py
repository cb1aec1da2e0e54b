"""LlamaIndex's OpenAILike: a chat, a completion, a stream."""

from endpoint import BASE_URL, KEY, MODEL
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

llm = OpenAILike(api_base=BASE_URL, api_key=KEY, model=MODEL, is_chat_model=True, max_tokens=12, max_retries=0)

ask = [ChatMessage(role="user", content="What is the capital of France?")]
assert llm.chat(ask).message.content
assert "".join(part.delta or "" for part in llm.stream_chat(ask))
assert llm.complete("Once upon a time").text
