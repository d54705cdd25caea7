"""An extension of Griffe: it knows `Examples:`, and this project's docstrings say `Example:`."""

import griffe


class Examples(griffe.Extension):
    """Have the examples of docstrings shown as code."""

    def on_object(self, *, obj, **kwargs):
        """Rename the section of one docstring."""
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
