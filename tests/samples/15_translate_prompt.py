# "Text generation models" (seed 001), Chat Completions vs. Completions. A prompt: the call around it and a text are added.
from openai import OpenAI
client = OpenAI()

text = "Good morning."
response = client.completions.create(
    model="gpt-3.5-turbo-instruct",
    prompt=f"""
Translate the following English text to French: "{text}"
""",
)
print(response.to_json())
