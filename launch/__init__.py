"""What a person starts."""

import os

# Ray reads this when it is imported. It prints a paragraph for every process that dies, also in its own logs; the
# run counts them, and says in a line what it did about a learner's.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^A worker died or was killed while executing a task")

# Before what a command imports, which takes seconds, in which it can be stopped too.
import rollout as rollout
from launch.required_packages import explain_missing

explain_missing()
