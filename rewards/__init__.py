"""The five parts of the reward, their sum, what they share, and the reward actor."""

import rollout as rollout  # a command, such as rewards.score, can be stopped while it imports
