"""What changes or lists a whole repository: collect, copy, rotate, take stock."""
