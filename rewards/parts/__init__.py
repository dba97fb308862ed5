"""The five parts of the reward, one module each."""
