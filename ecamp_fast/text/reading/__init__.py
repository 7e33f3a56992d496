"""What a report says, read once when shards are built.

cleaning   bytes to text, with the encoding that was found
sections   a raw report cut into findings, impression and the rest
words      what counts as one word
sentences  where sentences begin and end
entities   the 44 entities of the paper and how reports mention them
negation   which mentions are denied
doubt      which mentions are only supposed
annotate   mentions with their descriptors and negation, as marks on wordpieces
rules      short distilled sentences, written by rule, with
  modifiers       the adjectives, places and nouns that may stand in one; all else ends a phrase
  nouns           the noun for an entity, and its number
  sentence_words  the words of a sentence, and which of them mention an entity
  noun_phrase     the adjectives and the noun of an entity
  places          where a finding is said to be
  states          how an organ is said to be
version    the digest of all these rules, which shard sets carry
"""
