"""The words that may stand in a distilled sentence beside an entity: how it is, how much, where. All others end it."""

import re
from enum import Enum, auto
from functools import lru_cache


class Kind(Enum):
    """What a word does in a noun phrase."""

    ADJECTIVE = auto()
    ADVERB = auto()  # kept before an adjective: "mildly displaced"
    NOUN = auto()  # a place or a thing that an adjective belongs to: "lobe", "lymph nodes"
    PASSED = auto()  # left out, and the phrase goes on before it: a measure, "stable", "possible"
    END = auto()  # ends the phrase: verbs, prepositions, cues, everything unknown


SIDES = frozenset("right left bilateral".split())  # noqa: SIM905, tables of words

# What may be said of an organ that everybody has: with none of these a sentence says nothing.
STATES = frozenset(
    """
    normal unremarkable tortuous enlarged prominent widened ectatic elevated flattened indistinct uncoiled unfolded
    increased decreased blunted distorted full clear sharp atherosclerotic aneurysmal globular abnormal irregular
    lobulated accentuated attenuated crowded displaced shifted straightened hazy ill-defined well-defined asymmetric
    asymmetrical symmetric symmetrical intact bulging diminished reduced narrowed elongated hyperlucent large small
    borderline poor well under eventrated raised depressed low high redistributed cephalized dense convex deviated
    duplicated obliterated effaced top-normal smooth lucent mild moderate severe marked
    """.split()  # noqa: SIM905
)

# Degrees that "to" joins: "small to moderate".
DEGREES = frozenset(
    "mild moderate severe small large minimal tiny trace slight marked mid upper middle lower low".split()  # noqa: SIM905
)
# Numbers of things: a denied noun stays in the plural beside them, "There are no multiple nodules."
MANY = frozenset("multiple several numerous many few two three four five six innumerable".split())  # noqa: SIM905

# The second half of an adjective, nothing alone: "wedge shaped", "benign appearing".
TAILS = frozenset("appearing shaped like based sided sized defined acquired marginated".split())  # noqa: SIM905
COMPARATIVES = frozenset("greater larger more worse bigger less smaller".split())  # noqa: SIM905  # "right [greater] than left"

# Said of a whole picture or organ: no adjectives of a finding beside them behind a comma or a verb.
_WHOLE = frozenset("normal clear unremarkable intact negative".split())  # noqa: SIM905

_ADJECTIVES = (
    STATES
    | SIDES
    | frozenset(
        """
    mild moderate severe minimal minor slight subtle trace tiny small large massive extensive marked significant
    definite gross overt big huge short long broad wide thin thick narrow fine coarse faint vague dense low high deep
    moderate-sized sized subcentimeter sub-centimeter diminutive minute considerable substantial appreciable profound
    advanced early late acute subacute chronic active old remote new recent healed healing recurrent residual evolving
    age-indeterminate indeterminate indeterminant nonspecific non-specific atypical typical benign malignant aggressive
    suspicious visible obvious evident apparent discernible discrete distinct indistinct solitary single isolated
    multiple several numerous many few two three four five six innumerable countless multi dominant main major
    focal multifocal diffuse patchy hazy fluffy streaky wispy strandy linear reticular reticulonodular confluent
    coalescent scattered widespread extended layering rounded round oval ovoid oblong spherical ring-shaped wedge-shaped
    triangular irregular smooth spiculated lobulated circumscribed ill-defined well-defined poorly-defined defined
    loculated unilocular bullous cystic cavitary cavitating solid soft hard calcific noncalcified non-calcified
    uncalcified ground-glass groundglass alveolar interstitial airspace air-space homogeneous
    inhomogeneous heterogeneous hyperdense hypodense high-density low-density lucent hyperlucent metallic opaque
    platelike plate-like bandlike band-like discoid masslike mass-like round-like
    segmental subsegmental non-segmental lobar multilobar panlobar panlobular centrilobular paraseptal septal
    interlobular peribronchial bronchial bronchovascular perivascular vascular venous arterial pulmonary pleural
    subpleural extrapleural pleural-parenchymal parenchymal pericardial epicardial cardiac cardiothoracic
    cardiopulmonary cardio-pulmonary intrathoracic thoracic extrathoracic mediastinal paramediastinal paratracheal
    tracheal subcarinal infracarinal precarinal retrocardiac retrosternal retrohilar suprahilar infrahilar pre-tracheal
    diaphragmatic subdiaphragmatic infradiaphragmatic supradiaphragmatic costophrenic cardiophrenic basilar bibasilar
    basal bibasal biapical apical central peripheral medial lateral anterior posterior posterolateral anterolateral
    superior inferior upper lower middle mid proximal distal internal external transverse vertical horizontal oblique
    midline dependent nondependent lingular fissural unilateral contralateral ipsilateral right-sided
    left-sided right-side left-side two-sided sided one-sided subcutaneous subpulmonic intrapulmonary bony osseous
    osseus costal costochondral vertebral spinal lumbar cervical sacral clavicular scapular humeral sternal iliac
    femoral radial ulnar hip subcapital axillary jugular subclavian brachiocephalic internal azygos caval coronary
    mitral annular ventricular atrial valvular gastric hepatic splenic renal pancreatic esophageal paraesophageal
    hiatal hiatus bochdalek diaphragmatic abdominal visceral ventral inguinal umbilical intraperitoneal biliary
    degenerative compressive passive obstructive postobstructive post-obstructive postsurgical post-surgical
    postoperative post-operative posttraumatic post-traumatic traumatic pathologic pathological inflammatory infectious
    bacterial viral fungal lipoid cryptogenic organizing organising eosinophilic mycoplasma pneumocystis legionella
    aspiration community-acquired hospital-acquired nosocomial lobar covid-19 covid miliary metastatic neoplastic
    destructive lytic sclerotic blastic erosive comminuted impacted depressed displaced nondisplaced non-displaced
    undisplaced minimally-displaced angulated complete incomplete partial total compressed healed-appearing
    compression wedge burst greenstick avulsion stress insufficiency fragility
    tension hydrostatic cardiogenic noncardiogenic non-cardiogenic congestive neurogenic flash overload
    dual-lumen double-lumen single-lumen triple-lumen lumen tunneled non-tunneled indwelling percutaneous peripheral
    intravenous dialysis hemodialysis swan-ganz foley drainage infusion implanted central malpositioned kinked
    looped retained intact associated underlying superimposed adjacent concomitant additional secondary primary
    simple complex complicated mixed parapneumonic chylous hemorrhagic exudative
    transudative serous encysted encapsulated pedunculated sliding fixed incarcerated strangulated
    increased decreased reduced diminished prominent conspicuous asymmetric symmetric asymmetrical symmetrical
    uneven abnormal unusual unremarkable normal poor good well limited incidental moderate-to-large
    moderate-to-severe mild-to-moderate small-to-moderate soft-tissue healed traction varicose cylindrical cystic
    senescent senile idiopathic familial radiation radiation-induced drug-induced true pseudo severe-appearing
    chronic-appearing acute-appearing anomalous congenital acquired aneurysmal saccular fusiform descending ascending
    proximal inflated hyperlucent oligemic honeycomb crazy-paving tubular
    serpiginous branching tree-in-bud finger-in-glove lenticular elliptical crescentic meniscal curvilinear
    appearing shaped like based ill non cardio excavatum ij compensatory scant carinii community acquired varicella
    nonenlarged multilevel pleuroparenchymal lymph adrenal marginated circumferential
    whole entire respective rotated oriented well-circumscribed well-marginated ill-marginated
    subsolid nonsolid reexpansion re-expansion b/l
    sail-shaped concave convex blunt obtuse fat-containing gas-filled fluid-filled air-filled fat pectus deep shallow
    """.split()  # noqa: SIM905
    )
)

_PLACE_NOUNS = frozenset(
    """
    lung lungs lobe lobes lobule lingula base bases apex apices zone zones field fields hemithorax hemithoraces thorax
    chest midlung mid-lung midlungs region regions area areas quadrant quadrants segment segments fissure fissures space
    airspace airspaces air glass ground parenchyma pleura pleural-space angle angles sulcus sulci gutter recess recesses
    wall walls side sides aspect portion portions part third half periphery margin margins border borders surface
    heart atrium ventricle pericardium mediastinum trachea carina bronchus bronchi airway airways svc ivc vein veins
    artery arteries vessel vessels trunk junction cavoatrial arch knob root valve valves septum septa
    rib ribs clavicle clavicles scapula scapulae sternum spine vertebra vertebrae vertebral-body body bodies
    endplate endplates disc discs disk disks facet facets humerus humeri shoulder shoulders femur pelvis bone bones
    skeleton joint joints cartilage cartilages neck head shaft arm arms elbow knee cage column
    tissue tissues skin breast breasts axilla axillae muscle diaphragm diaphragms abdomen stomach esophagus bowel colon
    liver spleen kidney kidneys fundus loop loops stomach-bubble duodenum aortopulmonary window stripe
    rul rml rll lul lll
    line lead leads port tube tubes device tip wire wires clips implant implants nipple jugular
    level levels midthoracic thoracolumbar extremity ankle wrist foot hand finger toe skull mandible
    """.split()  # noqa: SIM905
)

_VAGUE = frozenset("region regions area areas aspect portion portions part side sides zone zones level levels".split())  # noqa: SIM905

# What an adjective of a finding or of an organ stands before: "granulomatous disease", "hilar fullness".
FINDINGS = frozenset(
    """
    disease diseases infection infections change changes process processes lesion lesions density densities scar scars
    scarring fullness prominence enlargement elevation ectasia tortuosity atherosclerosis stent stents
    graft aneurysm dissection plaque plaques bulla bullae bleb blebs streak streaks streaking blunting eventration
    retraction distortion prosthesis cavity cavities lymphadenopathy adenopathy haziness
    inflammation injury injuries infarct infarction stenosis insufficiency regurgitation trauma tumor tumors neoplasm
    malignancy metastasis metastases cancer carcinoma carcinomas
    focus foci irregularity irregularities uncoiling unfolding widening flattening crowding asymmetry hypertrophy
    indistinctness cephalization redistribution pseudoaneurysm coarctation displacement shift bulge
    defect defects fragment fragments pneumonitis granulomatosis pleurisy empyema airbronchograms
    """.split()  # noqa: SIM905
)

_OTHER_NOUNS = frozenset(
    """
    node nodes pattern markings material interstitium complexes structure structures shadow shadows vessels pleura
    hardware pacemaker volume
    """.split()  # noqa: SIM905
)
NOUNS = _PLACE_NOUNS | FINDINGS | _OTHER_NOUNS

_ADVERBS = frozenset(
    """
    mildly moderately severely markedly slightly minimally minorly very somewhat partially partly completely totally
    densely poorly well finely vaguely diffusely predominantly peripherally centrally extensively heavily largely
    mostly relatively fairly quite focally coarsely irregularly subtly faintly significantly abnormally symmetrically
    asymmetrically massively borderline sharply smoothly chronically acutely mainly entirely more less
    incompletely almost minimal mild nonspecifically
    """.split()  # noqa: SIM905
)
ADVERBS_ALONE = _ADVERBS - _ADJECTIVES

# Said of another film, of the reader or of how sure he is, and what is blacked out: the picture does not show it.
_PASSED = frozenset(
    """
    stable unchanged persistent persisting prior previous increasing decreasing worsening worsened improving improved
    enlarging progressive interval known again now still visualized visualised seen noted reported described
    redemonstrated possible probable questionable suspected presumed likely possibly probably presumably perhaps
    equivocal potential developing resolving similar similarly xxxx previously newly otherwise grossly essentially
    some certain convincing demonstrable radiographic radiographically such aforementioned above-described mentioned
    approximately about
    """.split()  # noqa: SIM905
)

# Ends like an adjective, and is none of a finding.
_NO_ADJECTIVES = frozenset(
    """
    interval removal arrival hospital clinical final initial usual critical medical technical denial withdrawal trial
    topic clinic diagnostic basic various serious particular year clear appear ear near nuclear dose radiological
    renewal referral proposal approval differential general equal annual principal optional additional-view
    frontal reveal primordial unclear antibiotic antiviral retroviral septic symptomatic voluntary serial empirical
    epidemiological histological nondiagnostic electronic fluoroscopic bronchoscopic radiologic arteriographic
    supplemental regular tachypneic nasal opportunistic diabetic
    exploratory summary necessary february january temporary ordinary contrary library diary actual original
    """.split()  # noqa: SIM905
)
_ENDING = re.compile(r"(?:[a-z]+-)*[a-z]{3,}(?:al|ar|ic|ous|ary|oid|form|genic)")
# "ill-defined", "wedge-shaped", "non-displaced", "right-sided", "moderate-to-large"; not "x-rayed", "followed-up"
_HYPHENATED = re.compile(
    r"(?:ill|well|poorly|non|mid|para|peri|sub|supra|infra|retro|post|semi|micro|macro|multi|bi|uni|pre|inter|intra)-"
    r"[a-z]+(?:ed|al|ar|ic|ous|ary|able|ive|like|form|space|lung)"
    r"|[a-z]+-(?:shaped|sided|sized|like|appearing|density|lobe|acquired|predominant|based|containing|filled|type|glass"
    r"|related|induced)|[a-z]+-to-[a-z]+"
)
# Before a hyphen these deny or doubt what follows, or join it to something else: "not-enlarged", "likely-acute".
_NO_PREFIXES = frozenset(
    """
    no not nor never without negative free absent lack likely unlikely query question may might could rule ruled versus
    vs if or and to for from of with suspected suggestive status history
    """.split()  # noqa: SIM905
)
_LEVEL = re.compile(
    r"[ctls]\d{1,2}(?:-[ctls]?\d{1,2})?|\d{1,2}(?:st|nd|rd|th)|(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth)"
)


@lru_cache(maxsize=4096)
def kind(word: str) -> Kind:
    """What a lower-case word does in the noun phrase of an entity."""
    word = word.replace("\u2010", "-").replace("\u2011", "-")
    if word in _PASSED or (word[0].isdigit() and not _LEVEL.fullmatch(word)):
        return Kind.PASSED
    if word in _ADJECTIVES or _LEVEL.fullmatch(word):
        return Kind.ADJECTIVE
    if word in NOUNS:
        return Kind.NOUN
    if word in _ADVERBS:
        return Kind.ADVERB
    first, hyphen, _ = word.partition("-")
    if hyphen and first in _ADJECTIVES and first != "non":  # "small-bore"
        return Kind.ADJECTIVE
    if hyphen and _is_compound(word):
        return Kind.ADJECTIVE
    if word not in _NO_ADJECTIVES and (_ENDING.fullmatch(word) or _HYPHENATED.fullmatch(word)):
        return Kind.ADJECTIVE
    return Kind.END


def _is_compound(word: str) -> bool:
    """Whether a hyphenated word is an adjective that is written solid too, or ends with one: "retro-cardiac",
    "recently-healed". It is kept whole, never its last part alone.
    """
    first, _, _ = word.partition("-")
    if first in _NO_PREFIXES or first in _PASSED:
        return False
    return word.replace("-", "") in _ADJECTIVES or word.rpartition("-")[2] in _ADJECTIVES - TAILS


def describes_a_finding(word: str) -> bool:
    """Whether an adjective may be taken from beyond a comma, an "and" or a verb."""
    return kind(word) is Kind.ADJECTIVE and word not in _WHOLE


def is_level(word: str) -> bool:
    """Whether a word numbers a rib or a vertebra: "5th", "T12"."""
    return _LEVEL.fullmatch(word) is not None


def is_vague(word: str) -> bool:
    """Whether a place says nothing alone: "in region"."""
    return word in _VAGUE


def is_place(word: str) -> bool:
    """Whether a word can end a phrase of place: "in the right upper lobe", "on the left", "of T12"."""
    return word in _PLACE_NOUNS or word in SIDES or (word[0] in "ctls" and is_level(word))
