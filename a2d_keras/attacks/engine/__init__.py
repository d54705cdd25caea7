"""The engine: the slot loop that runs every attack, compiled, and what its steps share."""
