"""`manycore map`: a function over the lines of a file, on every core, resumed where it ended."""
