from ray.exceptions import OutOfMemoryError, RayTaskError

from trainer.learner import NonFiniteLoss
from trainer.run import reason


def test_an_error_in_an_actor_is_said_by_its_cause():
    error = RayTaskError("train_step", "Traceback ...\n  File ...", NonFiniteLoss("loss is nan at version 3"))
    assert reason(error) == "NonFiniteLoss: loss is nan at version 3"


def test_what_ray_says_at_length_is_kept_to_its_first_line():
    assert reason(OutOfMemoryError("Memory on the node was low.\nRefer to ...\nCheck the logs.")) == (
        "OutOfMemoryError: Memory on the node was low."
    )


def test_other_errors_are_said_whole():
    assert reason(ValueError("wrong")) == "ValueError: wrong"
