"""A target whose import fails."""

raise RuntimeError("this module is broken\non purpose")
