"""Functions of the singular values: exact ones by decomposition, and those that products alone can do."""
