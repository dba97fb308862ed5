"""The five parts of the reward, the code they share, their sum, and the reward actor."""

import rollout as rollout  # a command, such as rewards.score, can be stopped while it imports
