// "Text generation" (seed 000), Assistant messages, and again in Conversations and context. A fragment: the import, the client and the print are added. Repair: the copy's line numbers are gone, and the three braces too many (its lines 6, 10 and 14) of the second place.
import OpenAI from "openai";
const openai = new OpenAI();

const response = await openai.chat.completions.create({
  model: "gpt-4o",
  messages: [
    {
      "role": "user",
      "content": [{ "type": "text", "text": "knock knock." }]
    },
    {
      "role": "assistant",
      "content": [{ "type": "text", "text": "Who's there?" }]
    },
    {
      "role": "user",
      "content": [{ "type": "text", "text": "Orange." }]
    }
  ]
});

console.log(JSON.stringify(response));
