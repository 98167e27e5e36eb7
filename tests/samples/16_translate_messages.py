# "Text generation models" (seed 001), Chat Completions vs. Completions. A list of messages: the call around it and a text are added. Repair: the copy cuts the line at "to Fre", its end is that of the prompt before it; the f, without which no text gets in.
from openai import OpenAI
client = OpenAI()

text = "Good morning."
response = client.chat.completions.create(
    model="gpt-3.5-turbo",
    messages=
[{"role": "user", "content": f'Translate the following English text to French: "{text}"'}]
)
print(response.to_json())
