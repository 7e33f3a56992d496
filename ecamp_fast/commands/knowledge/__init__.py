"""Commands of what comes before pre-training: reports read by a language model, and where the findings are.

distill        ``distill``: which there are
run            ``distill run``: every report to a journal of answers
audit          ``distill audit``: a random sample beside its reports, as a page
export_sft     ``distill export-sft``: answers of a model as conversations for a student
train_student  ``distill train-student``: a small model fitted to these
entities       ``--entities``: which list reports are read by
attend         ``attend COMMAND``: which there are
attend_train   ``attend train``: GLoRIA on a shard set
attend_apply   ``attend apply``: its maps of a set's images
attend_score   ``attend score``: whether its maps lie where boxes are
"""
