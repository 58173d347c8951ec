"""Duties of the timer: collect, scrub, reap, and rebuild what was lost."""
