# "Text generation models" (seed 001), Completions response format. An expression: the lines above it and print() are added. It reads the answer as a dict, which openai's library gives since its version 1 by to_dict().
from openai import OpenAI
client = OpenAI()

response = client.completions.create(
    model="gpt-3.5-turbo-instruct",
    prompt='Translate the following English text to French: "Good morning."'
).to_dict()

print(response['choices'][0]['text'])
