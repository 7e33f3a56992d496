"""The text of a micro-batch, made at every step: assembled, masked, weighed and packed to one shape.

assemble     [CLS], report and distilled text of each sample, end to end
masking      which words are masked and predicted
rebalance    what a predicted word is worth: the token weights of paper Eq. 3
descriptors  descriptors as the released code finds them at step time
rows         the sample and the position of each row
layout       the masked text as the model takes it, packed to a capacity
single_sentences  the distinct distilled sentences of a micro-batch, and who states which
captions          the same for GLoRIA, with the words that wordpieces make up
bert_vocabulary   the vocabulary of a BERT of transformers
"""
