# "Text generation models" (seed 001), Chat Completions response format. An expression: the lines above it and print() are added.
from openai import OpenAI
client = OpenAI()

completion = client.chat.completions.create(
    model="gpt-3.5-turbo",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Who won the world series in 2020?"},
    ]
)

print(
completion.choices[0].message.content
)
