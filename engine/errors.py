"""Errors that the engine raises on purpose; everything else that escapes it is a defect."""

from __future__ import annotations


class EngineError(Exception):
    """Base of all errors raised on purpose by the engine."""


class InvalidInput(EngineError):
    """A value that the engine cannot work with; `field` is the dotted path of the value in the caller's terms."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class UnsupportedModel(EngineError):
    """Something that this family of models, by what it is, cannot do; the message says why."""


class UnsupportedQuantity(EngineError):
    """A quantity that the model does not define, or whose prior density is not available in closed form."""

    def __init__(self, quantity: str, message: str) -> None:
        super().__init__(f"{quantity}: {message}")
        self.quantity = quantity
        self.message = message
