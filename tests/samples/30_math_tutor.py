# "Structured Outputs" (seed 003), When to use Structured Outputs. Described without code: a math tutor that answers in a JSON Schema, as response_format: {type: "json_schema", ...}.
from openai import OpenAI
client = OpenAI()

response = client.chat.completions.create(
    model="gpt-4o-mini-2024-07-18",
    messages=[
        {"role": "system", "content": "You are a helpful math tutor. Guide the user through the solution step by step."},
        {"role": "user", "content": "how can I solve 8x + 7 = -23"},
    ],
    response_format={
        "type": "json_schema",
        "json_schema": {
            "name": "math_reasoning",
            "schema": {
                "type": "object",
                "properties": {
                    "explanation": {"type": "string"},
                    "final_answer": {"type": "string"},
                },
                "required": ["explanation", "final_answer"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    },
)

print(response.to_json())
