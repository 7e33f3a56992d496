"""The shard set: whole, belonging to its tokenizer, fit for the recipe; and one sample decoded."""

from collections.abc import Iterator

from ecamp_fast.doctor.finding import Finding, fail, ok, warn
from ecamp_fast.doctor.run_setup import RunSetup
from ecamp_fast.errors import DataError

OFTEN = 0.05  # share of texts cut short that is worth a word
LISTED = 5  # files named on a line
LOOKED_AT = 64  # samples whose metadata is read
REBUILD = "restore the files from a copy, or build the set again"


def manifest(setup: RunSetup) -> Iterator[Finding]:
    """MANIFEST.json by its digest; sizes of all shards; the tokenizer's digest."""
    if setup.data is None:
        return
    from ecamp_fast.shards.format.manifest import read_manifest
    from ecamp_fast.shards.load.mix import open_data, places_of
    from ecamp_fast.shards.storage.presence import shard_faults, tokenizer_fault
    from ecamp_fast.shards.storage.store import open_store

    try:
        loader = setup.recipe.loader if setup.recipe else None
        bounds = {"spare": loader.quarantine, "cache_gb": loader.cache_gb} if loader else {}
        setup.shards = open_data(setup.data, **bounds)  # checks all of this, and reads a large manifest once
    except DataError:
        places = places_of(setup.data)
        if len(places) > 1:
            raise  # it names the set
        store = open_store(places[0])
        found = read_manifest(store.folder)
        faults = [fault.what for fault in shard_faults(store, found.shards)]
        fault = tokenizer_fault(store.folder, found)
    else:
        found, faults, fault = setup.shards.manifest, [], None
    yield ok("manifest", f"digest verifies ({found.digest[:12]}), built by ecamp-fast {found.builder}")
    spared = setup.shards.faults if setup.shards else ()
    if faults or spared:
        yield _missing(setup, list(spared or faults), len(found.shards))
    else:
        size = sum(shard.bytes for shard in found.shards)
        yield ok(
            "shards", f"{len(found.shards)} with the right sizes, {size / 1e6:,.1f} MB; `shard verify` reads it all"
        )
    if fault:
        yield fail("tokenizer", fault, REBUILD)
    else:
        yield ok(
            "tokenizer", f"digest matches, {found.vocab_size:,} entries" if found.tokenizer_digest else "none needed"
        )


def _missing(setup: RunSetup, faults: list[str], shards: int) -> Finding:
    more = f" and {len(faults) - LISTED} more" if len(faults) > LISTED else ""
    what = f"{len(faults)} of {shards}: " + "; ".join(faults[:LISTED]) + more
    if setup.shards is None:
        return fail("shards", what, REBUILD)
    lost = f"{len(setup.shards.lost):,} training samples are lost, others stand in"
    return warn("shards", f"{what}; {lost} (loader.quarantine)", "`ecamp-fast shard repair`, or restore the files")


def splits(setup: RunSetup) -> Iterator[Finding]:
    """Samples per split."""
    if setup.shards is None:
        return
    held = setup.shards.manifest
    found = ", ".join(f"{held.count(split):,} {split}" for split in held.splits) or "none"
    if not held.count("train"):
        yield fail("splits", f"samples: {found}; none to train on", "build the set with a train split")
    elif not held.count("val"):
        yield warn(
            "splits",
            f"samples: {found}; none held out, no losses to judge by",
            "build it with --holdout above 0, or with a split column",
        )
    else:
        yield ok("splits", f"samples: {found}")
    if held.quarantined:
        hint = "see `ecamp-fast shard stats`"
        yield warn("quarantined", f"{len(held.quarantined)} rows left out, their images were bad", hint)


def patients(setup: RunSetup) -> Iterator[Finding]:
    """Whether the set names patients; without, its splits were drawn by study."""
    if setup.shards is None:
        return
    held = setup.shards.manifest
    known = held.counts.get("patients", 0)
    if known:
        yield ok("patients", f"{known:,}, in one split each")
    elif len(held.splits) < 2:
        yield ok("patients", "not named, and one split only")
    else:
        found = "not named: one may be on both sides of the split, and held-out losses may be too good"
        yield warn("patients", found, _naming_patients(setup))


def _naming_patients(setup: RunSetup) -> str:
    """How the set is built with patients: by a column that the samples carry, if it looks like one."""
    from ecamp_fast.shards.sources.columns import likely, option

    shards = setup.shards
    if shards is not None and shards.manifest.source.get("kind") == "csv" and shards.manifest.count("train"):
        columns = shards.metadata("train", 0).get("columns", {})
        column = likely("patient_id", columns)
        if column:
            return f"build it again with {option({'patient_id': column})}"
    return "build it again with a column patient_id, or with patient_id in the metadata"


def sets(setup: RunSetup) -> Iterator[Finding]:
    """Samples of an epoch, by set; that they fit together was found when they were opened."""
    from ecamp_fast.shards.load.mix import ShardMix

    if not isinstance(setup.shards, ShardMix):
        return
    mix = setup.shards
    for part, share in zip(mix.parts, mix.shares("train"), strict=True):
        count = part.shards.manifest.count("train")
        yield ok("set", f"{part.shards.path}: {share:,} samples an epoch, of {count:,} (weight {part.weight:g})")


def patients_of_sets(setup: RunSetup) -> Iterator[Finding]:
    """Patients that one set trains on and another holds out, by their names."""
    from ecamp_fast.shards.load.alike import shared_patients
    from ecamp_fast.shards.load.mix import ShardMix, sets_of

    if not isinstance(setup.shards, ShardMix):
        return
    shared = shared_patients(sets_of(setup.shards))
    if shared is None:
        yield ok("patients of sets", "not compared, the sets are large or far away; `ecamp-fast shard merge` does")
    elif shared:
        found = f"{shared:,} are in train of one set and held out in another, by their names"
        hint = "if they are the same people, build one set of all; names of two sources may be alike by chance"
        yield warn("patients of sets", found, hint)
    else:
        yield ok("patients of sets", "none is in train of one set and held out in another")


def annotation(setup: RunSetup) -> Iterator[Finding]:
    """The rules the reports were read by against this version's."""
    if setup.shards is None or not setup.shards.manifest.vocab_size:
        return
    from ecamp_fast.shards.describe.rules import build_command, read_by_other_rules
    from ecamp_fast.shards.load.mix import sets_of

    if read_by_other_rules(setup.shards.manifest):
        hint = f"build it again: {' and '.join(build_command(one.manifest) for one in sets_of(setup.shards))}"
        yield warn("rules", "the reports were read by other rules than this version's", hint)
    else:
        yield ok("rules", "the reports were read by this version's")


def text(setup: RunSetup) -> Iterator[Finding]:
    """Lengths of the texts against ``text.max_tokens``."""
    if setup.shards is None or setup.recipe is None:
        return
    held = setup.shards.manifest
    alone = sum(map(held.without_text, ("train", "val"))) if setup.recipe.losses.mlm else 0
    if alone:
        hint = "build the set without --empty-reports keep, or --set losses.mlm=false"
        yield fail("text", f"{alone:,} samples have none, which losses.mlm learns from", hint)
        return
    lengths, max_tokens = held.text, setup.recipe.text.max_tokens
    if not lengths:
        yield ok("text", "none, and the recipe reads none")
        return
    found = f"tokens per sample: {lengths['tokens_mean']:.0f} on average, 95 % within {lengths['tokens_p95']:.0f}"
    if lengths["tokens_p95"] > max_tokens:
        hint = f"--set text.max_tokens={int(lengths['tokens_p95'])}, where memory allows"
        yield warn("text", f"{found}; more than {OFTEN:.0%} are cut at text.max_tokens {max_tokens}", hint)
    else:
        yield ok("text", f"{found}; text.max_tokens is {max_tokens}")


def attention_maps(setup: RunSetup) -> Iterator[Finding]:
    """Share of training samples that bring an attention map, which super-resolution is guided by."""
    if setup.shards is None or setup.recipe is None:
        return
    with_map = setup.shards.manifest.with_map("train")
    share = with_map / max(1, setup.shards.manifest.count("train"))
    found = f"{share:.0%} of the training samples have one"
    if setup.recipe.reads_maps and not with_map:
        hint = "name maps in the table, or --set sr.maps=centre; without, every pixel weighs alike"
        yield warn("attention maps", found, hint)
    else:
        yield ok("attention maps", found)


def pictures(setup: RunSetup) -> Iterator[Finding]:
    """Stored sizes, of training samples spread over the set, against the size that the model looks at."""
    if setup.shards is None or setup.recipe is None or not setup.shards.manifest.count("train"):
        return
    count, wanted = setup.shards.manifest.count("train"), setup.recipe.image.high_size
    rows = [row * count // min(count, LOOKED_AT) for row in range(min(count, LOOKED_AT))]
    metadata = [setup.shards.metadata("train", row) for row in rows]
    sides = sorted(min(entry["width"], entry["height"]) for entry in metadata)
    found = f"short sides of {len(sides)} samples: {sides[0]} to {sides[-1]}, image.high_size is {wanted}"
    if sides[len(sides) // 2] < wanted:
        hint = (
            f"`shard build --short-side {wanted}` or more, if the originals are larger; else a smaller image.high_size"
        )
        yield warn("image size", f"{found}: most are enlarged", hint)
    else:
        yield ok("image size", found)


def sample(setup: RunSetup) -> Iterator[Finding]:
    """The first training sample: CRC of every member, tokens within the vocabulary, image through the loader."""
    if setup.shards is None or setup.recipe is None or not setup.shards.manifest.count("train"):
        return
    import torch

    from ecamp_fast.shards.load.loader import Loader
    from ecamp_fast.text.codes import token_ids

    recipe = setup.recipe.model_copy(update={"batch": setup.recipe.batch.model_copy(update={"total": 1, "micro": 1})})
    device = torch.device("cuda" if setup.gpus else "cpu")
    loader = Loader(setup.shards, "train", recipe, rank=0, world=1, device=device)
    batch = next(iter(loader.batches(0, 1)))
    side, tokens = batch.image.shape[-1], int(batch.lengths.sum())
    top = int(token_ids(batch.text.codes).max()) if batch.text else 0
    if batch.text and top >= setup.shards.manifest.vocab_size:
        found = f"token id {top}, the tokenizer has {setup.shards.manifest.vocab_size} entries"
        yield fail("sample", found, "build the set again")
    else:
        yield ok("sample", f"read and decoded: {side} x {side} pixels, {tokens} tokens")


def length(setup: RunSetup) -> Iterator[Finding]:
    """What the recipe means on this data: steps per epoch and in all."""
    if setup.shards is None or setup.recipe is None or not setup.shards.manifest.count("train"):
        return
    from ecamp_fast.run.schedule import total_steps

    samples, recipe = setup.shards.epoch("train"), setup.recipe
    per_epoch = samples / recipe.batch.total
    steps = total_steps(recipe, samples)
    found = f"{per_epoch:.2f} steps per epoch, {steps:,} in all ({recipe.schedule.epochs:g} epochs)"
    if per_epoch < 1:
        micro = _power_of_two(samples // setup.ranks)
        smaller = micro if recipe.batch.micro == "auto" else min(micro, _power_of_two(recipe.micro))
        hint = f"--set batch.total={micro * setup.ranks} --set batch.micro={smaller}"
        yield warn("steps", f"{found}: a step is longer than an epoch", hint)
    else:
        yield ok("steps", found)


def _power_of_two(number: int) -> int:
    """The largest that is not above ``number``, at least 1."""
    return 1 << (max(number, 1).bit_length() - 1)
