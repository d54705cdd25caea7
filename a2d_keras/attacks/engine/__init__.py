"""The engine: the compiled slot loop that runs attacks, and the code that their steps share."""
