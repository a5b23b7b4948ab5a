"""What the topic notebooks share: a run whose server also has the built-in tools."""

from helpers.topics.session import Session, start

__all__ = ["Session", "start"]
