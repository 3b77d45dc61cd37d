"""State that processes share: containers, queues and locks in one memory-mapped file.

There is no manager process. `home` decides where the file lives and whose it is, `store` opens it
and groups what happens to it into transactions, `encoding` turns keys and values into bytes; above
them each kind of container has a file.
"""
