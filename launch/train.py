"""The main job: ``python -m launch.train [group=option] [key=value] [-m for a sweep]``.

The configuration is composed and validated before anything heavy is imported. Exit status: 0 finished, 1 failed,
2 refused configuration, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys

from launch.compose import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
