"""Scripts: the library, and running them on many machines at once."""
