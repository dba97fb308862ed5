"""Chat formats: what a model that was tuned to converse expects around a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MESSAGE = "MESSAGE"


@dataclass(frozen=True)
class Chat:
    """The text before and after a user's message, up to where the model's reply begins."""

    before: str
    after: str

    def frame(self, prompt: str) -> str:
        """Return the prompt as one user message, without white space around it, as chat templates have it."""
        return f"{self.before}{prompt.strip()}{self.after}"


def chat_format(tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> Chat | None:
    """Return a Hugging Face tokenizer's chat format; None if it has none. ``arguments`` are given to the template, such
    as ``enable_thinking``.

    The text is tokenised like any other, so a beginning-of-text token that the tokenizer sets by itself is left out.
    Raises ValueError if the template does not show the message.
    """
    if not tokenizer.chat_template:
        return None
    message = [{"role": "user", "content": _MESSAGE}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **(arguments or {}))
    before, found, after = text.partition(_MESSAGE)
    if not found:
        raise ValueError("the tokenizer's chat template does not show the user's message")
    if tokenizer.bos_token and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]:
        before = before.removeprefix(tokenizer.bos_token)
    return Chat(before, after)


def model_chat(path: str, arguments: Mapping[str, Any] | None = None) -> Chat | None:
    """Return the chat format of a model folder or a name on the hub; None if its tokenizer has none."""
    folder = Path(path)
    if folder.is_dir() and not _has_template(folder):
        return None
    from transformers import AutoTokenizer

    return chat_format(AutoTokenizer.from_pretrained(path), arguments)


def _has_template(folder: Path) -> bool:
    """Return whether one of the files is there in which a chat template is kept; spares most runs a tokenizer."""
    settings = folder / "tokenizer_config.json"
    return (
        (folder / "chat_template.jinja").is_file()
        or (folder / "chat_template.json").is_file()
        or (settings.is_file() and '"chat_template"' in settings.read_text(encoding="utf-8"))
    )
