"""Public models: what their own equations say of every parameter, and what the readers say."""
