// "Text generation" (seed 000), System messages. A fragment: the import, the client and the print are added. Repair: the copy's line numbers are gone.
import OpenAI from "openai";
const openai = new OpenAI();

const response = await openai.chat.completions.create({
  model: "gpt-4o",
  messages: [
    {
      "role": "system",
      "content": [
        {
          "type": "text",
          "text": `
            You are a helpful assistant that answers programming questions
            in the style of a southern belle from the southeast United States.
          `,
        }
      ],
    },
    {
      "role": "user",
      "content": [
        {
          "type": "text",
          "text": "Are semicolons optional in JavaScript?"
        }
      ]
    }
  ]
});

console.log(JSON.stringify(response));
