# "Libraries" (seed 003), Install an official SDK. The copy has not the Python of the page: its JavaScript, in Python.
from openai import OpenAI
client = OpenAI()

response = client.responses.create(
    model="gpt-4o",
    input="Write a one-sentence bedtime story about a unicorn."
)

print(response.output_text)
