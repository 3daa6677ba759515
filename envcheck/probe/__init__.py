"""What runs inside the target interpreter: stdlib and torch only, Python 3.8 syntax, nothing of ours.

``main.py`` is started by path with the number of a pipe; it imports torch, waits for one job on stdin, runs that one
trial and says what it measured in JSON lines. Nothing here judges: the parent does, from the numbers. The folder is
loaded as a package under a name of its own, so that no file in it can stand in the way of a module of the target.
"""
