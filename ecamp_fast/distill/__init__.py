"""Reports rewritten as one short sentence per entity: by a language model behind an endpoint, or by the rules.

distiller  what asks, judges and falls back: the seam between the texts and the run
reports    the reports of a shard set or of a table, and the digest that names one
endpoint   where reports may be sent, and the client that sends them: the one module that opens connections
pacing     how many requests at once, when to try again, when to give up
journal    finished answers on the disk, append-only, synced before they count
forecast   what is still to be spent, from what was
runner     all reports to the journal: resume, re-asks, fallback, forecast
"""
