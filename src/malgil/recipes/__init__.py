"""The recipes: a YAML file each, which may name a `base` and then holds only what differs."""
