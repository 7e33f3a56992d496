"""Reports as one short sentence per entity, by a language model or by rules, and never taken unread.

distiller   whom to ask what, whether an answer is taken, what stands in for it: the interface
prompt      what a model is asked
vocabulary  which words say the same
source      what a report says, as answers about it are judged
answers     an answer taken apart, as text or as JSON, and written in the normal form
garbage     answers that are none, by name
validate    whether an answer says what the report says
table_s2    the paper's prompt with all that judges its answers
by_rules    the rules behind the same interface
sft         conversations for a student, of what was distilled
audit       a random sample, side by side
"""
