"""What a person is told: errors in one line, and what the terminal shows."""

from . import terminal
from .errors import Stopped, UserError, as_user_error, explain

__all__ = ["Stopped", "UserError", "as_user_error", "explain", "terminal"]
