"""The technician's terminal. `views/` turns what the agent answers into rows, without any I/O; `app.py` shows them with
Textual, `plain.py` prints the same rows on lines too poor for that. `start.py` chooses between the two.
"""
