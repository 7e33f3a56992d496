"""From the text of a report to masked, weighted tokens.

reading/   a report understood once, when shards are built: sections, entities, negation
packing/   the text of a micro-batch, at every step: assembled, masked, weighed, packed
entity_file a list of entities of one's own, from a file
statements what distilled texts state, sentence by sentence
codes      one int32 a token: its id, and what masking must know of it
language   whether reports are Spanish, which the rules do not read
wordpiece  the tokenizer
"""
