"""The words by which reports deny, doubt, and end a denial: one table for each purpose, a row for each wording.

Rows are regular expressions for lower-case text in its normal form (``plain``), matched from the beginning of a word to
the end of one. ``{ADVERB}`` and its like stand for the lists at the top.
"""

import re
from collections.abc import Iterable

_PARTS = {
    "SEEN": "(?:seen|identified|present|visuali[sz]ed|visible|evident|demonstrated|appreciated|detected|noted|found"
    "|apparent|observed|recogni[sz]ed|discernible|discerned|shown|documented|confirmed|established|reported"
    "|demonstrable|identifiable|recognizable)",
    # "completely", "now", "since": whatever stands between a verb and what it says, but the words that turn it round
    "ADVERB": "(?:(?!nearly|partially|partly|largely|mostly|incompletely|virtually|practically|mainly|previously"
    "|formerly)(?:[a-z]+ly|now|since|all|again|well|interval|also|so far|anymore|either|much|very|quite|yet|at all"
    "|xxxx) )*",
    "NEARLY": "(?:nearly|almost|partially|partly|partial|largely|mostly|incompletely|substantially|virtually"
    "|practically|near(?:ly)?[- ]completely|mainly|not(?: yet)?|yet to be|to be)",
    "IS": "(?:is|are|was|were|been|be)",
    "IS_NOT": "(?:is|are|was|were)(?: not|n't)",
    "HAS": "(?:has|have|had)",
    "HAS_NOT": "(?:has|have|had)(?: not|n't)",
    "NOT": "(?:(?:(?:is|are|was|were|has|have|had|do|does|did|been) )?(?:not|never)|[a-z]+n't)",
    "DOES_NOT": "(?:do|does|did)(?: not|n't)",
    "CANNOT": "(?:can ?not|can't|cant|could not|couldn't|could never)",
    "CHANGE": "(?:changes?|differences?|increases?|decreases?|improvements?|worsening|progression|growth|enlargement"
    "|developments?|alterations?|variations?|reductions?|evolution|deterioration|regression|expansion|extension"
    "|re-?distribution|advancement|shrinkage|interval changes?)",
    # adjectives before a noun; "evidence of" may lead to it
    "ADJECTIVES": "(?:(?:(?:radiographic |definite |convincing |clear )?(?:evidence|signs?|suggestion"
    "|indication) (?:of|for)|(?!(?:of|or|and|with|in|to|for|is|are|was|were|but|the|by|on|at|from)\\b)[a-z-]+) ){0,4}",
    "GONE": "(?:resolved|cleared|disappeared|vanished|gone(?: away)?|subsided)",
    "GOING": "(?:resolution|clearing|clearance|disappearance)",
    "REMOVED": "(?:removed|withdrawn|taken out|pulled(?: out)?|discontinued|explanted|extracted)",
    "SHOW": "(?:show|demonstrate|reveal|suggest|indicate|identify|see|have|display|exhibit|contain|represent)",
    "PAST": "(?:prior|previous|previously|before|earlier|yesterday|last|comparison|former|formerly|old|initial"
    "|preceding|then|ago|january|february|march|april|june|july|august|september|october|november|december|monday"
    "|tuesday|wednesday|thursday|friday|saturday|sunday|\\d{1,2}/\\d{1,2})(?:'s)?",
    "EXCLUDED": "(?:excluded?|excluding|ruled? out|ruling out|ruled-out|dismiss(?:ed)?|discount(?:ed)?)",
    "CHANGED": "(?:(?:un)?changed|altered|enlarged|increased|decreased|improved|worsened|progressed|grown|different"
    "|changing|increasing|decreasing|smaller|larger)",
    "CLEAR": "(?:free|clear|devoid|cleared)",
}


def one_of(rows: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the rows, as whole words."""
    return re.compile("|".join(rf"(?<![a-z0-9-])(?:{expand(row)})(?![a-z0-9])" for row in rows))


def expand(row: str) -> str:
    """A row with its parts written out."""
    return re.sub(r"\{([A-Z_]+)\}", lambda name: _PARTS[name[1]], row)


# What denies the entities behind it. "Resolution of" and its like: see TURNS.
DENIES_AHEAD = (
    "no",
    "not(?!-)",
    "(?:is|are|was|were|do|does|did|has|have|had)n't",
    "without",
    "w/o",
    "(?:absence|lack) of",
    "lack(?:s|ing)?(?! of)",
    "insufficient evidence (?:of|for)",
    "neg(?:ative)?(?: [a-z]+){0,3} for",
    "negative(?= (?:acute|focal|new|significant|active)\\b)",
    "free (?:of|from)",
    "clear(?:ed)? of",
    "devoid of",
    "den(?:y|ies|ied|ying)",
    "never",
    "neither",
    "nor",
    "nil",
    "nothing",
    "absent(?= [a-z])",
    "unlikely(?: to(?: be)?)?(?= [a-z])",
    "rather than",
    "instead of",
    "fail(?:s|ed)? to {SHOW}",
)
# The same, but "with", a comma or "and a new" end it: what has gone leaves other things behind.
TURNS = (
    "resolved",
    "{GOING} of",
    "removal of",
    "(?:removed|pulled|withdrawn)(?= [a-z])",
)
# "No longer seen is the right pneumothorax": the entity comes last.
INVERTED = re.compile(expand(r"(?:\A\W*|(?<=[,;] ))(?:no longer|not) {SEEN}(?: (?:is|are|was|were)\b| ?:)"))
MINUS = re.compile(r"\(-\)")  # "(-) effusion"
# "None of the nodules is calcified" denies that they are, not the nodules.
NONE_OF = re.compile(
    r"\b(?:none|neither|no one) of (?:the |these |those |his |her )?(?:[a-z-]+ ){1,4}"
    r"(?:is|are|was|were|has|have|shows?|demonstrates?|contains?|appears?)\b"
)
# What denies the entities before it.
DENIES_BEHIND = (
    "no longer (?:be )?{ADVERB}{SEEN}",
    "no longer in (?:place|position|situ)",
    "(?<!may )(?<!might )not {ADVERB}{SEEN}",
    "(?:is|are|was|were)n't {ADVERB}{SEEN}",
    "{HAS_NOT} been {ADVERB}{SEEN}",
    "{HAS_NOT} {ADVERB}(?:developed|occurred|appeared|recurred|re-?accumulated|formed|returned)",
    "{DOES_NOT} (?:recur|persist|exist|re-?accumulate|develop|occur|appear(?= ?(?:[.,;)]|\\Z))|form|return)",
    "(?:{IS} (?:now )?|(?<=picc )|(?<=line )|(?<=lines )|(?<=catheter )|now )out(?= ?(?:[.,;)]|\\Z))",
    "{CANNOT} (?:longer )?(?:[a-z]+ )?be {ADVERB}{SEEN}",
    "{HAS} {ADVERB}(?:been )?{ADVERB}{GONE}",
    "{IS} {ADVERB}{GONE}",
    "(?:disappeared|vanished)",
    "{IS} {ADVERB}(?:absent|unlikely|negative(?! for)|excluded|ruled out|not likely|nowhere)",
    "(?:seems?|appears?|felt|considered|thought) (?:to be )?{ADVERB}(?:absent|unlikely)",
    "isn't {ADVERB}likely",
    "not {ADVERB}likely",
    "ruled out",
    "(?:absent|resolved)(?= ?(?:[.,;)]|\\Z))",
    "{IS} {ADVERB}{REMOVED}",
    "{REMOVED}(?= ?(?:[.,;)]|\\Z))",
    "{IS_NOT}(?= ?(?:[.,;)]|\\Z))",
)
# Answers behind a colon or a dash: "Effusion: no", "Pneumothorax - none".
ANSWERS = re.compile(
    r" ?(?::| -+|\?) ?(?:(?:no (?:[a-z]+ ){0,2}(?:evidence|signs?)|none|nil|absent)\b|(?:no|negative|neg|not (?:seen"
    r"|present))(?= ?(?:[.,;)]|\Z| [a-z]+ ?:)))"
)
# No change in what is there. It is none where the noun belongs to the entity ("no cardiac enlargement") or to an
# adjective that names one ("no fibrotic changes").
NO_CHANGE = (
    "(?:no|nil|without|not(?: any| much| a)?|nor|lack of|absence of) {ADJECTIVES}(?!changes (?:of|to|suggest"
    "|consistent|compatible|typical|due)){CHANGE}(?: (?:or|and) {ADJECTIVES}{CHANGE})*(?! or\\b)",
)
# Cue words that deny nothing about the entity.
DENIES_NOT = (
    # what has not changed is there
    "{NOT} {ADVERB}{CHANGED}",
    "(?:neither|none|no one)\\b[^.;]{0,80} (?:{HAS}|{IS}) {ADVERB}{CHANGED}",
    # negation of a negation
    "(?:no|without(?: a)?|beyond) (?:doubt|question|uncertainty|denying|mistaking"
    "|(?:reason|basis|cause|grounds?) to (?:doubt|question))",
    "no (?:more|less|fewer|greater|larger|other|better) than",
    "(?:{NOT}|no longer|by no means|far from|anything but) {ADVERB}(?:{CLEAR}(?: (?:of|from))?|without)",
    "(?:neither|none|no|not one)\\b[^.;,]{0,40} {IS} {ADVERB}(?:{CLEAR}(?: (?:of|from))?|without)",
    "{NOT} {ADVERB}(?:absent|negative|lacking|unlikely|improbable|impossible"
    "|(?:un|in)[a-z]+(?:able|ant|ial|ed|ive|al))(?: for)?",
    "by no means",
    "{NOT} (?:very |entirely )?(?:specific|diagnostic)",
    "no (?:longer )?(?:absence|lack) of",
    # "not excluded" and "not ruled out", in every form
    "(?:can|could|to|should|must|would|may|might) be (?:[a-z]+ )?{EXCLUDED}",
    "(?:{CANNOT}|{NOT}|without|nor) (?:[a-z]+ )?(?:be |been )?(?:[a-z]+ )?{EXCLUDED}",
    "(?:no|not|nothing|insufficient|inadequate|impossible|difficult|unable)(?: [a-z]+){0,4} to (?:[a-z]+ )?{EXCLUDED}",
    # what has not gone, or not wholly, or is hoped to go
    "(?:no|without|not|incomplete|partial|near|nearly|almost|minimal|slow|some|little|slight|lack of|absence of"
    "|sub-?total|until|till|pending|toward|towards|(?<!due )to|expected|anticipated|delayed|for"
    "|awaiting)(?:[ -][a-z]+){0,2}?[ -]{GOING}(?: of)?",
    "(?:ensuring|documenting|confirming|awaiting|assuring) (?:[a-z]+ ){0,2}?{GOING}(?: of)?",
    "(?:{NOT}|{NEARLY})(?: (?:appear|seem|believed|thought))?(?: to (?:have"
    "|be))?(?: {NEARLY})?(?: been)? (?:[a-z]+ )?{GONE}",
    "recurren(?:ce|t)\\b[^.;,]{0,40} {GONE}",
    "(?:{HAS} |{IS} |previously |formerly )*{ADVERB}{GONE}\\b[^.;]{0,60} {HAS} (?:[a-z]+ )?(?:recurred|returned"
    "|re-?accumulated|re-?appeared|re-?formed)",
    "(?:neither|none|not all|not every|nor)\\b[^.;,]{0,60} (?:{HAS}|{IS}) {ADVERB}(?:been )?{GONE}",
    "(?:once|until|till|when|if|unless|whether|after|should)\\b[^.;,]{0,60} (?:{HAS}|{IS}) {ADVERB}(?:been )?{GONE}",
    "(?:will|should|may|might|would|could|must) (?:[a-z]+ )?(?:have )?(?:be )?(?:[a-z]+ )?{GONE}",
    # what was not there before is new
    "(?:{NOT}|(?:{IS} )?absent)(?: been)?(?: {ADVERB}{SEEN})?(?: (?!compared|since|than|unlike|contrast|today|now"
    "|current|currently|despite)[a-z0-9'/-]+){0,6}? {PAST}",
    "no(?: [a-z-]+){1,4} (?:was|were|had been)(?: {ADVERB}{SEEN})?(?: (?!compared|since|than|unlike|now|but|and"
    "|contrast)[a-z'-]+){0,5}? {PAST}",
    # what could not be judged
    "{NOT} (?:be )?(?:only|necessarily|well|fully|adequately|completely|entirely|optimally|simply|just|sure|certain"
    "|yet|reliably|accurately)",
    "{NOT} (?:be )?{ADVERB}(?:evaluated|assessed|characteri[sz]ed|determined|included|imaged|measured|compared)",
    "{CANNOT} be (?:well|fully|adequately|completely|entirely|optimally|further|reliably|clearly) (?!excluded"
    "|ruled)[a-z]+",
    "or not",
)
# "An opacity, which is not evident on the lateral": of its head a relative clause denies nothing.
RELATIVE = re.compile(
    expand(
        "(?<![a-z])(?:which|that|who|where)(?: [a-z]+)? (?:{IS_NOT}|{HAS_NOT}(?: been)?|{CANNOT} be|no longer)[^.,;]*"
    )
)

# Verbs of which one makes a clause. "Show" and its like are none behind "does not".
VERBS = (
    "is|are|was|were|isn't|aren't|wasn't|weren't",
    "has|have|had",
    "remains?|appears?|persists?|continues?|seems?|becomes?",
    "shows?|demonstrates?|reveals?|exhibits?",
    "can|cannot|could|may|might|will|would|should|must",
    "develop(?:s|ed)|worsens|occur(?:s|red)|obscures?|lies?|lays?|projects?|terminates?|ends?|extends?"
    "|overlies|contains?|involves?|causes?|makes?|persisted|remained|appeared|represents?",
)
# Behind which "no" reaches no further, whatever follows.
STOPS = (
    "but",
    "however",
    "except(?:ing| for)?",
    "although|though|yet",
    "apart from|aside from|other than|besides|save for|barring",
    "with (?:residual|persistent|persisting|stable|unchanged|the|an?|his|her|its|this)",
    "while|whereas|whilst",
)
# Prepositions of circumstance: what follows is given, not denied.
CIRCUMSTANCES = (
    "following|after|upon|post(?![ -](?:primary|obstructive|inflammatory|infectious|traumatic|stenotic|operative"
    "|surgical|radiation))|status[ -]post|s/p|since|subsequent to|prior to",
    "despite|in spite of|notwithstanding|regardless of",
    "superimposed (?:up)?on|superimposed over|on top of",
    "in the (?:region|area|vicinity|bed) of",
    "(?:accompanying|complicating|abutting|involving|affecting|overlying|underlying|surrounding|along|from|around"
    "|about) (?:the|an?|this)",
    "adjacent to|next to|near|beside|outside(?: of)?|beyond|at the (?:site|level) of",
    "given|considering|in view of|in light of|in keeping with",
    "in (?:the |this )?(?:setting|context|presence|background|face) of|on (?:a )?background of"
    "|against (?:a )?background of",
    "with exception of|in addition to",
    "in (?:a|an|this|the|these|those)? ?(?:patient|woman|man|person|individual|child|infant|subject)s?",
    "due to|secondary to|because of|owing to|related to|attributable to|as a result of|caused by|from known|in known",
    "compared (?:to|with)|as compared|when compared|in comparison|relative to",
    "associated with|accounting for|to account for|to explain|explaining",
)
# A comma or "and" before one of these begins something new.
STATES = (
    "(?:un)?changed|stable|chronic|persist(?:ent|ing)|continued|continuing|ongoing|known|old|residual|remaining"
    "|recurrent|prior|previous(?:ly)?|existing|pre-?existing|redemonstrated|again|healed|remote"
    "|post-?(?:operative|surgical)",
    "mild(?:ly)?|moderate(?:ly)?|severe(?:ly)?|marked(?:ly)?|slight(?:ly)?|small|large|tiny|trace|minimal(?:ly)?"
    "|massive|extensive|prominent|borderline|worsening|worsened|improv(?:ed|ing)|increas(?:ed|ing)|decreas(?:ed|ing)"
    "|enlarged|calcified|bibasilar|bibasal|left|right|bilateral",
)

# What doubts the entities behind it.
DOUBTS_AHEAD = (
    "may|might|could",
    "possibl[ey]|possibilit(?:y|ies)(?: of)?",
    "probabl[ey]|likely|probability of",
    "suspect(?:ed)?|suspicion (?:of|for)|suspicious (?:for|of)",
    "(?:concerning|worrisome|concern|concern is|concerns|worry|evaluate|assess|query|queries|questions?"
    "|question of) (?:for|of)",
    "(?:concerning|suspicious|worrisome) [a-z]+ for",
    "question|query",
    "suggest(?:s|ed|ing|ive|ion)?",
    "questionable|questionably|equivocal|uncertain|unclear",
    "presum(?:e|ed|es|ably|ptive)",
    "consider(?:ations?)?",
    "perhaps|maybe|conceivably|potential(?:ly)?",
    "differential",
    "{EXCLUDED}",
    "[rs]/o",
    "exclusion of",
    # nothing new came up, which says little of what is there
    "(?:no|nil|without) {ADJECTIVES}developments? of(?! (?:the|a|this|known)\\b)",
    "doubt(?:s|ed)?",
    "not (?:unlikely|improbable|impossible)",
    "if|whether",
    "versus|vs",
    "favou?r(?:s|ed|ing)?",
    "(?:thought|felt|believed) to (?:be|represent|reflect)",
    "in doubt|doubtful",
    "low probability for|high probability for",
)
# "? pneumonia" and "pneumothorax?"
QUESTION_AHEAD = re.compile(r"(?:\A\W*|[(,;:] ?|\bor )\?(?= ?[a-z])|(?<![a-z0-9])\?(?=[a-z])")
QUESTION_BEHIND = re.compile(r"(?<=[a-z)])\?|\?(?=\W*\Z)")
# What doubts the entities before it.
DOUBTS_BEHIND = (
    "(?:is|are|was|were|be|remains?|seems?|appears?)(?: also| still| less| more| most| very| felt| thought| certainly"
    "| therefore)? (?:a |the |to be )?(?:possible|likely|probable|suspected|questioned|considered|questionable"
    "|possibilit(?:y|ies)|uncertain|unclear|equivocal|indeterminate|doubtful|favou?red|consideration|concern|question"
    "|suspicious)(?! (?:to|due|secondary|related|represent|reflect|as|for|of|stable|normal|unchanged)\\b)",
    "(?:{CANNOT}|{NOT}) (?:[a-z]+ )?(?:be |been )?(?:[a-z]+ ){0,2}(?:excluded|ruled[ -]out|dismissed|discounted)",
    "(?:difficult|impossible|hard|not possible) to (?:[a-z]+ )?(?:exclude|rule out)",
    "{NOT} {ADVERB}(?:unlikely|improbable|impossible)",
    "(?:less|more|most) (?:likely|probable)(?= ?(?:[.,;)]|\\Z))",
    "neither (?:be )?[a-z]+ nor {EXCLUDED}",
    "(?:doubtful|doubted)(?= ?(?:[.,;)]|\\Z))",
    "(?:to|should|must|needs? to|can|could) be (?:[a-z]+ )?(?:excluded|ruled out|considered)",
    "(?:may|might|could) (?:also |still |well )?be (?:present|seen|there|developing|considered)",
    "(?:may|might|could) (?:also )?(?:exist|have (?:developed|recurred)|coexist)",
    "(?:may|might|could) not (?:have been|be) {ADVERB}{SEEN}",
    "(?:may|might|could|can) (?:also )?(?:have|give|cause|produce) (?:this|a similar|such an?) appearance",
    "(?:may|might|could) (?:have been|be (?:an )?artifact(?:ual|s)?)",
    "{CANNOT} be (?:further )?{ADVERB}(?:evaluated|assessed|characteri[sz]ed|determined|confirmed)",
    "not {ADVERB}(?:evaluated|assessed|imaged|included)",
    "(?:in|on|of|among|part of) (?:the|a) differential",
    "(?:suspected|questioned)(?= ?(?:[.,;)]|\\Z))",
)
# Words of doubt that doubt nothing.
DOUBTS_NOT = (
    "(?:no|without(?: a)?|beyond) (?:question|uncertainty|doubt|(?:reason|basis|cause|grounds?) to (?:doubt|question))",
    "if any",
    "if\\b[^.;,]{0,40} (?:persists?|worsens?|{DOES_NOT}|fails? to)",
    "(?:is|are) suggested",
    "(?:as |if )?(?:clinically )?(?:indicated|desired|warranted|needed|necessary)",
    "(?:no|without|nothing)(?: [a-z]+){0,3} (?:suggest[a-z]*|suspici[a-z]+|concern[a-z]*|indication)",
    "(?:suggest|recommend|consider)(?:ed|ing)? (?:follow|clinical|correlation|repeat|further|ct|chest|dedicated|a )",
    "could be (?:obtained|performed|considered)",
    "may be (?:obtained|performed|helpful|useful)",
)
# Behind which doubt reaches no further.
DOUBT_STOPS = (
    "but|however|although|though|yet",
    "without|no",
    "(?<!whether )(?<!if )(?<!that )(?<!doubt )there (?:is|are)",
    "(?<!consistent )(?<!compatible )(?<!associated )(?<!along )(?<!correlation )with",
    "and (?:a|an|the|no|there|with|also|then|some|associated|adjacent|additional|healed"
    "|{ADVERB}(?:mild|moderate|severe|small|large|minimal|trace|tiny|stable|unchanged|chronic|persistent|known|old"
    "|new|right|left|bilateral|is|are))",
    "known",
)
# The same, but doubt behind them is about what stands before: "pneumonia superimposed on emphysema is possible".
DOUBT_ASIDES = (
    "superimposed (?:up)?on|in (?:the |a )?(?:setting|context|presence|background) of|in (?:a|this) patient",
    "on (?:a )?background of|given|despite|following|after|status[ -]post|s/p|adjacent to|overlying|obscured by",
)
