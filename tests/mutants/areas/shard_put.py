"""Lists of entities of one's own, and texts and maps put into a finished set."""

import tempfile
from pathlib import Path
from typing import Any

from mutant import mutants

REPORTS = ("No effusion.", "Small left scoliosis.", "No edema. Normal stomach.", "Large mass of the lung.", "No mass.")


def read() -> Any:
    """What texts say of a list: mentions, distilled sentences, marks, findings; what a list of files is refused for."""
    from ecamp_fast.errors import ConfigError
    from ecamp_fast.text.entity_file import read_entities
    from ecamp_fast.text.reading.entities import Entity, EntityList, find_mentions
    from ecamp_fast.text.reading.rules import distill

    entities = EntityList(
        [
            Entity("chf"),
            Entity("heart failure crisis"),
            Entity("lens"),
            Entity("scarring", ("scar",), ("scarred",)),
            Entity("port-a-cath"),
            Entity("stomach", organ=True),
            Entity("sternal wires", plural="sternal wires"),
        ]
    )
    texts = (
        "Heart failure crisis. No lens. Bilateral lenses. Possible scarring of the left lung.",
        "Apical scarring pattern. Left scarred lung base.",
        "The left lung is scarred, no scars. Portacath, port-a-cath and port a cath.",
        "The stomach is normal. No stomach. No sternal wires. Congestive heart failure.",
    )
    out: list[Any] = [sorted(entities.pieces)]
    for text in texts:
        out += [find_mentions(text, entities), distill(text, entities)]
    with tempfile.TemporaryDirectory() as folder:
        for content in ("no mass:", "ab:\ncd: [ab]", "effusion:\nfluid: [effusions]", "aorta:\nab: {organ: true}"):
            file = Path(folder) / "a.yaml"
            file.write_text(content)
            try:
                out.append(read_entities(file).tree())
            except ConfigError as error:
                out.append(error.what.replace(folder, ""))
    return str(out)


def inserted() -> Any:
    """Sets that texts and maps were put into: their members by CRC32, what the manifest says, what could not be put."""
    import csv
    from dataclasses import replace

    import numpy as np
    from PIL import Image

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.builder import put as module
    from ecamp_fast.shards.builder.build import Options, build
    from ecamp_fast.shards.format.manifest import Manifest, read_manifest, write_manifest
    from ecamp_fast.shards.images.encode import pgm
    from ecamp_fast.shards.sources.csv_file import CsvSource
    from ecamp_fast.text.reading.entities import Entity, EntityList

    def told(manifest: Manifest) -> Any:
        crc = [{name: one.crc32.tolist() for name, one in shard.members.items()} for shard in manifest.shards]
        return crc, manifest.text, manifest.rules_digest == "former", manifest.source["put"][-1], manifest.notes

    out: list[Any] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        picture = Image.fromarray(np.random.default_rng(3).integers(30, 220, (70, 90), dtype=np.uint8))
        for number in range(len(REPORTS)):
            picture.rotate(number).save(folder / f"{number}.jpg")
        with open(folder / "reports.csv", "w", newline="") as file:
            rows = [
                ("study_id", "image_path", "report"),
                *((f"s{n}", f"{n}.jpg", text) for n, text in enumerate(REPORTS)),
            ]
            csv.writer(file).writerows(rows)
        entities = EntityList([Entity("scoliosis"), Entity("mass"), Entity("effusion"), Entity("stomach", organ=True)])
        options = Options(workers=1, shard_size=2, vocab_size=200, holdout=0.3, entities=entities)
        build(CsvSource(folder / "reports.csv"), folder / "set", options)
        write_manifest(folder / "set", replace(read_manifest(folder / "set"), rules_digest="former"))
        keys = [key for shard in read_manifest(folder / "set").shards for key in shard.keys]
        (folder / "maps").mkdir()
        for key in ("s0_0", "s1_1", "s2_2"):
            (folder / "maps" / f"{key}.pgm").write_bytes(pgm(picture.resize((9, 7))))
        texts = dict.fromkeys(keys, "There is scoliosis. There is no edema.") | {"stranger": ""}
        for number, (budget, maps) in enumerate(((0.25, None), (0.25, folder / "maps"), (0.5, folder / "maps"))):
            try:
                report = module.put(
                    folder / "set", folder / f"out{number}", texts, maps, workers=1, reject_budget=budget
                )
                out.append((told(report.manifest), report.faults))
            except DataError as error:
                out.append(error.what.replace(place, ""))
        report = module.put(
            folder / "set", folder / "out1", dict.fromkeys(keys, "There is mass."), folder / "maps", reject_budget=0.5
        )
        out.append((told(report.manifest), report.resumed))
        try:
            out.append(told(module.put(folder / "set", folder / "out4", maps=folder / "maps", workers=1).manifest))
        except DataError as error:
            out.append(error.what.replace(place, ""))
        module.put(folder / "set", folder / "out5", maps=folder / "maps", workers=1, reject_budget=0.5)
        out.append(told(read_manifest(folder / "out5")))
    return str(out)


PUT = "tests/shards/builder/test_put.py -k not(kill)"
LISTS = "tests/text/reading/test_entity_lists.py"
MUTANTS = [
    *mutants(
        "shards/builder/put_sample.py",
        PUT,
        inserted,
        {
            "report and distilled text change places": ("pack_tokens(*codes)", "pack_tokens(*codes[::-1])"),
            "a map that nothing is stated for is kept": ("empty=bool(report) and not states", "empty=False"),
            "a report that states nothing needs a map": ("            elif states:\n", "            else:\n"),
            "texts are read for the paper's entities": ("Annotator(tokenizer, self._entities)", "Annotator(tokenizer)"),
        },
    ),
    *mutants(
        "shards/builder/put.py",
        PUT,
        inserted,
        {
            "keys of nobody are no fault": ("+= _unknown(reports, texts.keys(), UNKNOWN_TEXT)", "+= []"),
            "the budget is one more": ("len(faults) > allowed:", "len(faults) > allowed + 1:"),
            "the rules are those of before": ("RULES_DIGEST if texts else old.rules_digest", "old.rules_digest"),
            "maps alone are read by new rules": ("RULES_DIGEST if texts else old.rules_digest", "RULES_DIGEST"),
            "texts are as long as before": ("text_statistics(reports, distilled) if texts else old.text", "old.text"),
            "shards with other texts serve": ('("set", "texts_digest", "maps_digest")', '("set", "maps_digest")'),
            "faults of samples are forgotten": (
                "[*given.faults, *(fault for done in entries for fault in done.rejected)]",
                "[*given.faults]",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/text/reading/entities.py",
        LISTS,
        read,
        {
            "the paper's form is the longest": (
                "[*_grouped(longer), *known, *_grouped({*own} - {*longer})]",
                "[*known, *_grouped(own)]",
            ),
            "plurals mention nothing": ("(*stated, *plurals)", "stated"),
            "a hyphen must be there": ('"[- ]?"', '"[- ]"'),
            "names of several words are wordpieces": (
                "frozenset(filter(str.isalnum, self.names))",
                "frozenset(self.names)",
            ),
            "a name that ends with s is a plural": ("noun not in self._names and (", "("),
            "a form of one's own is an adjective by its ending": ("known is WordKind.ADJECTIVE if known else ", ""),
            "organs are findings": ("if one.organ)", "if False)"),
        },
    ),
    *mutants(
        "ecamp_fast/text/entity_file.py",
        LISTS,
        read,
        {
            "a form may deny itself": ("any(map(_unsure, _in_sentences(form)))", "False"),
            "one form may be of two": ("            if owner is not one:\n", "            if False:\n"),
            "a form of the paper's is nobody's": ("if mention[1:] == (0, len(form)):", "if False:"),
            "no entity of the paper's is an organ": ("bare.of_paper and bare.name in ANATOMY if", "False if"),
        },
    ),
]
