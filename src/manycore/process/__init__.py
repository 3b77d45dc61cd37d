"""`Process`: a function in another process, with a result, an identity and an end."""
