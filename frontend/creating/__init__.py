"""Creating machines: the form made from what a cloud offers and its provider asks for, and what the form comes to."""
