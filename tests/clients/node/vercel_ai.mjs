// Vercel's AI SDK: text, a stream, an object, a tool; over chat completions and over responses.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { BASE_URL, API_KEY, MODEL } = process.env;
const compatible = createOpenAICompatible({
  name: "rackserve", baseURL: BASE_URL, apiKey: API_KEY, supportsStructuredOutputs: true,
})(MODEL);
const responses = createOpenAI({ baseURL: BASE_URL, apiKey: API_KEY }).responses(MODEL);

for (const model of [compatible, responses]) {
  const { text } = await generateText({ model, prompt: "What is the capital of France?", maxOutputTokens: 12, maxRetries: 0 });
  assert(text);
  let streamed = "";
  for await (const part of streamText({ model, prompt: "And of Spain?", maxOutputTokens: 12, maxRetries: 0 }).textStream) streamed += part;
  assert(streamed);
}

const { object } = await generateObject({
  model: compatible, schema: z.object({ name: z.string(), inhabitants: z.number().int() }), prompt: "Tell me of Paris.", maxRetries: 0,
});
assert.equal(typeof object.name, "string");

const asked = [];
const weather = tool({
  description: "Tells the weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => { asked.push(city); return "sunny"; },
});
const { text } = await generateText({
  model: compatible, prompt: "What is the weather in Paris?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0,
});
assert(asked.length > 0);
assert(text);
