"""What a run looked like: one HTML file of its numbers and its pictures.

build     the report of a run from its model, its held-out samples and its run directory
evaluate  whether the model reconstructs this patient, or just any chest
facts     what the run directory says: facts, metrics, events, results
kinds     what these files must hold where it is counted or drawn
pictures  what the model made of a few samples
words     token rows back to words
html      the page, which loads nothing
sections  its tiles, verdicts, curves and tables
curves    line charts as inline SVG
gallery   pictures and filled-in reports
comparison  the page of ``evaluate``: ours beside the paper's tables
"""
