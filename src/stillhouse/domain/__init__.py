"""Pure vocabulary and decisions: no I/O, nothing imported but errors."""
