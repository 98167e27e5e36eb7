"""The environment variables that point OpenAI's libraries to a server."""

from __future__ import annotations

import shlex


class Environment(dict[str, str]):
    """Environment variables, for `os.environ.update` or `subprocess.run(env=…)`; `print` shows them as shell lines.
    The repr, which notebooks save, hides API keys."""

    def __str__(self) -> str:
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.items())

    def __repr__(self) -> str:
        return self.hiding("…")

    def hiding(self, placeholder: str) -> str:
        """The shell lines with a placeholder, unquoted, in place of API keys."""
        values = {
            name: placeholder if name.endswith("KEY") else shlex.quote(value) for name, value in self.items()
        }
        return "\n".join(f"export {name}={value}" for name, value in values.items())
