"""The commands of ``ecamp-fast``: options in, a message or one JSON object out; imported only when called.

annotate      ``shard annotate``: sections and entities of reports, without images
bench         ``bench NAME``: measure one part, or all of them
compare_runs  ``compare-runs``: the first step and quantity in which two runs differ
demo          the whole way on phantoms, with a crash in the middle
doctor        look before the run does
put           ``shard put``: distilled texts and attention maps into a finished set
recipes       ``recipes``: the recipes that come along, and every key of one
replay        one step of a run again, and what in it went bad first
report        write the report of a run anew
shard         build, merge, verify, repair, describe and draw shard sets
stop          ask a run to save and end
terminal      lines for a person, with the names in them escaped
tokenizer     ``tokenizer train``
track         send what a tracker was not told of a run
train         launch the ranks of a run, and watch them
worth         what pre-training is worth: trained with reports and without, and judged

downstream    commands that use what a run has learned
knowledge     commands of what comes before pre-training

progress      a bar on a terminal, plain lines elsewhere
sources       what --from takes, and the source that it opens
trainings     several pre-trainings at once, for ``worth`` and ``ablate``
verdict       how ``demo`` and ``worth`` end: a line for each check, and an exit code
"""
