"""Commands that read reports by a language model.

distill  ``distill``: which there are
run      ``distill run``: every report to a journal of answers
"""
