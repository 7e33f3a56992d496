"""What a report says, read once when shards are built.

cleaning        bytes to text, with the encoding that was found
headings        the headings of reports, as tables, and what section each begins
sections        a raw report cut into findings, impression and the rest
plain           the one normal form in which all that follows reads a text
words           what counts as one word
sentences       where sentences begin and end
entities        what reports are read for, the paper's 44 entities or a list of one's own, and how they are mentioned
cues            for these: the wordings that deny, doubt, and end a denial, as tables
clauses         for these: where clauses begin
negation        which mentions are denied
doubt           which mentions are only supposed
annotate        mentions with their descriptors and negation, as marks on wordpieces
rules           short distilled sentences, written by rule
modifiers       for these: the adjectives, places and nouns that may stand in one; all else ends a phrase
nouns           for these: the noun for an entity, and its number
sentence_words  for these: the words of a sentence, and which of them mention an entity
noun_phrase     for these: the adjectives and the noun of an entity
places          for these: where a finding is said to be
states          for these: how an organ is said to be
version         the digest of all these rules, which shard sets carry
"""
