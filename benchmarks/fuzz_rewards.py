"""Random, truncated, adversarial and non-English episodes through the reward: ``python -m benchmarks.fuzz_rewards``.

Every episode must come back with finite parts or with a named error, within the limit. Prints counts, the slowest
ones and the errors by reason; exit status 1 if anything else happened.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from conf.schema.rewards import MODES, Rewards
from rewards.actor import score_or_error
from rewards.nouns_and_vectors import TextResources
from rollout.records import ANSWER_TYPES, Attempt, Decomposition, Episode, Problem, Turn

MAX_CHARS = 20_000
SAMPLES = [
    "Tom has 3 pens. Ann has twice as many. How many pens has Ann? 3 * 2 = 6. The answer is 6.",
    r"We get $\frac{1}{2} \cdot \sqrt{x^2 + 1} = \boxed{\frac{3}{4}}$ and so \boxed{12 \text{ m}}.",
    "#### 1,234.50 [[Answer: (B)]] the answer is: yes no true false (A) (C) ABD",
    "Анна имеет 12 яблок, Борис на 3 больше. 安娜有十二个苹果，鲍里斯多三个。 كم تفاحة؟ ١٢ + ٣ = ١٥ கேள்வி १२ + ३",
    "1/0 NaN inf -inf 1e9999 0x1F ∞ ½ ² ³√8 10^10^10 9^{9^{9^9}} 100000! −5 ﹣3 1,2,3,4 3.3.3.3 ..5 5..",
    "\x00\x01\ud7ff\ufeff\u202e\u200b\t\r\n\x0b 👩‍👩‍👧‍👦 e\u0301 ﬁ Ⅻ ½",
]
BOMBS: list[Callable[[random.Random, int], str]] = [
    lambda rng, size: rng.choice("([{<$\\/-+*^. ,?0aé\n") * size,
    lambda rng, size: "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD7FF)])) for _ in range(size)),
    lambda rng, size: (
        rng.choice(["\\boxed{", "#### ", "answer is ", "half of ", "(A) ", "\\frac{", "3 x ", "or 5 "]) * size
    )[:size],
    lambda rng, size: "9" * size,
    lambda rng, size: "^".join(["9"] * max(1, size // 2)),
    lambda rng, size: "\\boxed{" * (size // 14) + "7" + "}" * (size // 14),
    lambda rng, size: "\\sqrt{" * (size // 14) + "7" + "}" * (size // 14),
    lambda rng, size: "+".join(f"{rng.choice('xyz')}^{rng.randrange(99)}" for _ in range(size // 6 + 1)),
]


def text(rng: random.Random) -> str:
    """Make a text of up to 20,000 characters, short ones as likely as long ones."""
    size = int(MAX_CHARS ** rng.random())
    if rng.random() < 0.4:
        return rng.choice(BOMBS)(rng, size)[:size]
    pieces = [rng.choice(SAMPLES) for _ in range(size // 60 + 1)]
    joined = rng.choice(["\n", " ", ""]).join(pieces)
    start = rng.randrange(max(1, len(joined) - size))
    return joined[start : start + size]


def episode(rng: random.Random, index: int) -> Episode:
    """Make an episode of such texts, two out of three with a gold solution."""
    gold = rng.choice(["7", "B", "yes", "ABD", r"\frac{1}{2}", "x^2+1", "1e9999", text(rng)[:60]]) or "7"
    plan = [text(rng) for _ in range(rng.randrange(6))]
    return Episode(
        Problem(
            f"fuzz-{index}",
            text(rng) or "?",
            gold,
            rng.choice(ANSWER_TYPES),
            choices=rng.choice([None, ["1", "2", "3"], {"A": "1/2", "B": text(rng)[:20]}]),
            solution=rng.choice([None, text(rng), text(rng)]),
        ),
        "daslam",
        rng.choice([None, Attempt(text(rng))]),
        Decomposition("", plan),
        [Turn(question, text(rng)) for question in plan],
        Attempt(text(rng), rng.choice([None, None, text(rng)[:80]])),
    )


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=10_000, help="at least so many texts")
    parser.add_argument("--seconds", type=float, default=10.0, help="limit of an episode")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, resources = random.Random(options.seed), TextResources()
    texts, scored, errors, wrong, times = 0, 0, Counter[str](), 0, []
    started = time.perf_counter()
    limit = {"episode_seconds": options.seconds}
    modes = [Rewards.for_mode(mode).model_copy(update=limit) for mode in MODES]
    while texts < options.texts:
        item, settings = episode(rng, scored), modes[scored % len(modes)]
        began = time.perf_counter()
        reward = score_or_error(item, resources, settings)
        times.append(time.perf_counter() - began)
        texts += 3 + 2 * len(item.turns) + (item.initial is not None)
        scored += 1
        finite = math.isfinite(reward.total) and all(math.isfinite(v) for v in reward.parts.values() if v is not None)
        if reward.error:
            errors[reward.error.split(":")[0]] += 1
        wrong += (reward.error is None and not finite) or times[-1] > options.seconds + 2
        if scored % 100 == 0:
            print(f"\r{texts} texts, {scored} episodes, {sum(errors.values())} errors", end="", file=sys.stderr)
    print(file=sys.stderr)
    times.sort()
    print(f"{texts} texts in {scored} episodes, seed {options.seed}, {time.perf_counter() - started:.0f} s")
    print(
        f"seconds an episode: median {times[len(times) // 2]:.3f}, largest {times[-1]:.2f}, limit {options.seconds:g}"
    )
    print(f"errors of single episodes by kind: {dict(errors) or 'none'}")
    print(f"neither finite nor a named error, or over the limit: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
