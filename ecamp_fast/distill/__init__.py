"""Reports rewritten as one short sentence per entity: by a language model behind an endpoint, or by the rules.

distiller   what asks, judges and falls back: the seam between the texts and the run

prompt      what a model is asked
source      what a report says, as answers about it are judged
vocabulary  which words say the same
answers     an answer taken apart, as text or as JSON, and written in the normal form
garbage     answers that are none, by name
validate    whether an answer says what the report says
table_s2    the prompt of Table S2 with all that judges its answers
by_rules    the rules behind the same interface

reports     the reports of a shard set or of a table, and the digest that names one
endpoint    where reports may be sent, and the client that sends them: the one module that opens connections
pacing      how many requests at once, when to try again, when to give up
journal     finished answers on the disk, append-only, synced before they count
runner      all reports to the journal: resume, re-asks, fallback
forecast    tokens, time and cost of what is to come

audit       a random sample of what was distilled, to be read beside its reports
sft         what was distilled as conversations that a student is fitted to
lessons     what a student is fitted to, and how: these as tokens
student     the student: a small model, fitted by TRL and PEFT
"""
