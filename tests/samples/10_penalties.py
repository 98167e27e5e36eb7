# "Text generation models" (seed 001), Frequency and presence penalties. Described without code, here with the haiku of seed 000: none, both at 1 (a reasonable value), both at 2 (strong).
from openai import OpenAI
client = OpenAI()

for penalty in [0, 1, 2]:
    response = client.chat.completions.create(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": "Write a haiku about recursion in programming."}],
        frequency_penalty=penalty,
        presence_penalty=penalty,
    )
    print(response.to_json(indent=None))
