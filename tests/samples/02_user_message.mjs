// "Text generation" (seed 000), User messages. A fragment: the import, the client and the print are added. Repair: the copy's line numbers, and the page break inside it, are gone.
import OpenAI from "openai";
const openai = new OpenAI();

const response = await openai.chat.completions.create({
  model: "gpt-4o",
  messages: [
    {
      "role": "user",
      "content": [
        {
          "type": "text",
          "text": "Write a haiku about programming."
        }
      ]
    }
  ]
});

console.log(JSON.stringify(response));
