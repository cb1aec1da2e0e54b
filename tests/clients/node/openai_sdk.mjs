// OpenAI's SDK for Node: whole answers, streams, responses, errors.
import assert from "node:assert/strict";
import OpenAI from "openai";

const { BASE_URL, API_KEY, MODEL } = process.env;
const client = new OpenAI({ baseURL: BASE_URL, apiKey: API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France?" }];

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert(models.includes(MODEL));

const answer = await client.chat.completions.create({ model: MODEL, messages, max_tokens: 12 });
assert(answer.choices[0].message.content);
assert(answer.usage.completion_tokens <= 12);

let text = "";
for await (const chunk of await client.chat.completions.create({ model: MODEL, messages, max_tokens: 12, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert(text);

const response = await client.responses.create({ model: MODEL, input: "And of Spain?", max_output_tokens: 12 });
assert(response.output_text);

await assert.rejects(client.chat.completions.create({ model: "no-such-model", messages }), OpenAI.NotFoundError);
await assert.rejects(new OpenAI({ baseURL: BASE_URL, apiKey: "wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
