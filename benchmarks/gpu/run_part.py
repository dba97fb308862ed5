"""One part of the kit in this process: ``python -m benchmarks.gpu.run_part FUNCTION TASK``, which the kit calls.

``FUNCTION`` is ``module:function``, ``TASK`` a ``Task`` as text. The exit status is 1 if the part or a case failed.
"""

from __future__ import annotations

import pkgutil
import sys
import traceback
from typing import Any

from benchmarks.gpu.task import Skipped, Task, first_line
from trainer.run_folder.files import read_json


def main(arguments: list[str]) -> int:
    """Measure, and say in the result file how it went; return the exit status."""
    function, text = arguments
    task = Task.decoded(text)
    task.note(part=task.part, state="running")
    try:
        pkgutil.resolve_name(function)(task)
    except Skipped as reason:
        task.note(state="skipped", reason=str(reason))
        return 0
    except Exception as error:  # noqa: BLE001 - whatever ends a part is its result
        traceback.print_exc()
        task.note(state="failed", reason=first_line(error))
        return 1
    failed = failed_cases(read_json(task.file).get("figures", {}))
    if failed:
        task.note(state="failed", reason=f"failed: {', '.join(failed)}")
        return 1
    task.note(state="done")
    return 0


def failed_cases(figures: dict[str, Any]) -> list[str]:
    """Return the names of the cases that have an error in place of figures."""
    return [name for name, value in figures.items() if isinstance(value, dict) and "failed" in value]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
