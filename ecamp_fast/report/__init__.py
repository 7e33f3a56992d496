"""What a run looked like: one HTML file of its numbers and its pictures.

build     the report of a run from its model, its held-out samples and its run directory
facts     what the run directory says: facts, metrics, events, results
kinds     what these files must hold where it is counted or drawn
pictures  what the model made of a few samples
words     token rows back to words
html      the page, which loads nothing
sections  its tiles, verdicts and tables
run_curves  its curves: losses, update, machine
curves    line charts as inline SVG
looks     maps of cross-attention over the images of samples
look_page the page of maps, and of what they are worth
card_page the report card that needs no label, of one model or two, as a page and as Markdown
profile_page what the steps of a profiled run spend their time on
gallery   pictures and filled-in reports
audit_page reports beside what was distilled of them
comparison  the page of ``evaluate``: ours beside the paper's tables
"""
