"""The engines behind `toolkit.engine`: each turns requests into completions."""
