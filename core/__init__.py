"""The nouns every other part is made of: resources, actions, actors, guards, jobs, events, the vault."""
