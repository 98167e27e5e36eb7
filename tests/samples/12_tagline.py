# "Text generation models" (seed 001), Completions API. The print is added. Repair: the copy's line numbers are gone.
from openai import OpenAI
client = OpenAI()

response = client.completions.create(
    model="gpt-3.5-turbo-instruct",
    prompt="Write a tagline for an ice cream shop."
)

print(response.to_json())
