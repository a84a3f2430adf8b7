"""An app of the tests: tasks that misbehave, in the real workers."""
