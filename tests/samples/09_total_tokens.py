# "Text generation models" (seed 001), Managing tokens. An expression: the lines above it and print() are added. It reads the answer as a dict, which openai's library gives since its version 1 by to_dict().
from openai import OpenAI
client = OpenAI()

response = client.chat.completions.create(
    model="gpt-3.5-turbo",
    messages=[{"role": "user", "content": "ChatGPT is great!"}],
).to_dict()

print(response['usage']['total_tokens'])
