"""The five parts of the reward, their sum, what they share, and the reward actor."""
