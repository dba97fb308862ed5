"""The DeepSpeed learner: actor-critic, ranks, state, and the sending of weights."""
