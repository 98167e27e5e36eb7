"""The files that come with the toolkit: prompts of the gallery, and the vocabularies of tiktoken."""
