"""Random programs across the border, run in virtual time and compared with a model of what they should do.

`programs.py` has what a program is, `prediction.py` the model, `execution.py` runs a program for real, and `generation.py` makes them up.
`python -m tests.border.model 20000` tries more of them than the tests do.
"""
