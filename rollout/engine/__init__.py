"""The policy's inference engines: vLLM and Transformers, their settings, and how weights are loaded."""
