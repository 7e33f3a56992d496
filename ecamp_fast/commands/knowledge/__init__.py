"""Commands that read reports by a language model.

distill  ``distill``: which there are
run      ``distill run``: every report to a journal of answers
audit    ``distill audit``: a random sample beside its reports, as a page
export_sft  ``distill export-sft``: answers of a model as conversations for a student
"""
