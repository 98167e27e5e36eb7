"""`from toolkit.serve import OPENAI`: the names by which OpenAI's guides call their models."""

from toolkit.serving.command_line import OPENAI
from toolkit.serving.server import Server, serve, servers

__all__ = ["OPENAI", "Server", "serve", "servers"]
