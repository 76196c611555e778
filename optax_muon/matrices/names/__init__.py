"""Reading a plain tree: names, shapes and what stands beside."""
