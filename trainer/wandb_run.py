"""The run at Weights & Biases. What goes wrong there stops nothing: it is said once, and the run goes on without."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trainer.config import Config


class WandbRun:
    """W&B's run in ``folder``; nothing where ``tracking.wandb`` is disabled. ``id`` is that of the run to go on with.

    ``sent`` is the last step it has, -1 if none: W&B takes no step back.
    """

    def __init__(
        self, config: Config, folder: Path, run_id: str | None, sent: int, say: Callable[[str], object]
    ) -> None:
        self._folder, self._say = folder, say
        self._run: Any = None
        self.id = run_id
        self.sent = sent
        if config.tracking.wandb != "disabled":
            self._guarded(lambda: self._begin(config))

    def _begin(self, config: Config) -> None:
        import wandb

        tracking = config.tracking
        (self._folder / "wandb").mkdir(exist_ok=True)
        self._run = wandb.init(
            project=tracking.project,
            group=tracking.group,
            name=tracking.name or self._folder.name,
            dir=str(self._folder),
            mode=tracking.wandb,
            id=self.id,
            resume="allow" if self.id else None,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )
        self.id = str(self._run.id)
        # A score belongs to the version it is of; its row is that of the step in which it was there.
        self._run.define_metric("eval/*", step_metric="eval/version")

    def log(self, metrics: dict[str, float], step: int) -> None:
        """A learner step's metrics, unless it has them."""
        if step > self.sent:
            self._call(lambda run: run.log(metrics, step=step))
            self.sent = step

    def table(self, name: str, columns: list[str], rows: Iterable[list[Any]]) -> None:
        """A table, in the last step."""
        self._call(lambda run: self._late(run, {name: _wandb().Table(columns=columns, data=list(rows))}))

    def image(self, name: str, path: Path) -> None:
        """A picture, in the last step."""
        self._call(lambda run: self._late(run, {name: _wandb().Image(str(path))}))

    def summary(self, summary: dict[str, Any]) -> None:
        """What the run is listed with."""
        self._call(lambda run: run.summary.update(summary))

    def close(self, exit_code: int) -> None:
        """End it."""
        self._call(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _late(self, run: Any, values: dict[str, Any]) -> None:
        run.log(values, step=max(self.sent, run.step))

    def _call(self, function: Callable[[Any], Any]) -> None:
        if self._run is not None:
            self._guarded(lambda: function(self._run))

    def _guarded(self, function: Callable[[], Any]) -> None:
        try:
            function()
        except Exception as error:  # noqa: BLE001 - a tracker must not end what it tracks
            self._run = None
            with (self._folder / "logs" / "wandb.log").open("a", encoding="utf-8") as stream:
                traceback.print_exc(file=stream)
            self._say(f"W&B failed ({type(error).__name__}); the run goes on without it, metrics.jsonl has everything")


def _wandb() -> Any:
    import wandb

    return wandb
