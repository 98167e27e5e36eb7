# "Text generation models" (seed 002), Quickstart, Curl. Repair: the copy breaks the body in two by code fences after -d '{, and has lost the }' at its end. Its address is OpenAI's, which a shell function turns into $OPENAI_BASE_URL (tests/test_samples.py).
curl https://api.openai.com/v1/chat/completions \
-H "Content-Type: application/json" \
-H "Authorization: Bearer $OPENAI_API_KEY" \
-d '{
"model": "gpt-4o-mini",
"messages": [
  {
    "role": "system",
    "content": "You are a helpful assistant."
  },
  {
    "role": "user",
    "content": "What is a LLM?"
  }
]
}'
