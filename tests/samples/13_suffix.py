# "Text generation models" (seed 001), Inserting text. Described without code: a suffix to the sample before it.
from openai import OpenAI
client = OpenAI()

response = client.completions.create(
    model="gpt-3.5-turbo-instruct",
    prompt="Write a tagline for an ice cream shop.",
    suffix="That is why we are called The Cold Spoon.",
)
print(response.to_json())
