"""The pieces of an episode: prompts, parsing, limits, and the interfaces of decomposer and solver."""
