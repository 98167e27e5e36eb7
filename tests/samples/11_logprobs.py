# "Text generation models" (seed 001), Token log probabilities. Described without code: in the Chat Completions API, then in the legacy one.
from openai import OpenAI
client = OpenAI()

response = client.chat.completions.create(
    model="gpt-3.5-turbo",
    messages=[{"role": "user", "content": "Who won the world series in 2020?"}],
    logprobs=True,
    top_logprobs=2,
)
print(response.to_json(indent=None))

response = client.completions.create(
    model="gpt-3.5-turbo-instruct",
    prompt='Translate the following English text to French: "Good morning."',
    logprobs=2,
)
print(response.to_json(indent=None))
