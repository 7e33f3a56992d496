"""What a report says, read once when shards are built.

cleaning   bytes to text, with the encoding that was found
headings   the headings of reports, as tables, and what section each begins
sections   a raw report cut into findings, impression and the rest
words      what counts as one word
sentences  where sentences begin and end
entities   the 44 entities of the paper and how reports mention them
negation   which mentions are denied
doubt      which mentions are only supposed
annotate   mentions with their descriptors and negation, as marks on wordpieces
rules      short distilled sentences, written by rule
version    the digest of all these rules, which shard sets carry
"""
