"""A package, so that its cluster ends with the folder and not with the session: a process has one."""
