# "Text generation models" (seed 001), Reproducible outputs. Described without code: seed and system_fingerprint, with the page's own question.
from openai import OpenAI
client = OpenAI()

for seed in [42, 42, 43]:
    response = client.chat.completions.create(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": "Who won the world series in 2020?"}],
        temperature=1,
        seed=seed,
    )
    print(response.to_json(indent=None))
