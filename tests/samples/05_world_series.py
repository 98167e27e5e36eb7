# "Text generation models" (seed 001), Chat Completions API. The print is added. Repair: the copy's line numbers are gone; the first answer is cut at "in 2" there, and here.
from openai import OpenAI
client = OpenAI()

response = client.chat.completions.create(
    model="gpt-3.5-turbo",
    messages=[
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Who won the world series in 2020?"},
        {"role": "assistant", "content": "The Los Angeles Dodgers won the World Series in 2"},
        {"role": "user", "content": "Where was it played?"}
    ]
)

print(response.to_json())
