"""Manifest lines as tests craft them: some fields may be missing, others too many."""

from typing import Any, TypeAlias

Line: TypeAlias = Any
