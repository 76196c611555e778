"""Steps to one loss: the track; a package by name, for it has a module of the same one."""
