"""What is taken of a source: names that are passed over, views, distilled texts, releases, languages."""

from typing import Any

from mutant import mutants


def passed_over() -> Any:
    """Which names are data, and what is said of the others."""
    from ecamp_fast.shards.sources.leftovers import Leftovers, in_leftover, is_leftover

    names = ("a.jpg", ".", "..", "._a.jpg", "a.txt~", "#a#", "#1.jpg", "THUMBS.DB", "x.swp.jpg", "a.swp")
    places = ("./a.jpg", "__MACOSX/a.jpg", "x/@eaDir/", "x/@eaDir/a.jpg", "../a")
    leftovers = Leftovers()
    kept = leftovers.kept(places)
    leftovers.add(folder=True)
    return [is_leftover(name) for name in names], [in_leftover(place) for place in places], kept, leftovers.notes


def walked() -> Any:
    """What lies below a folder with such names in it."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.shards.sources.tree import walk

    with tempfile.TemporaryDirectory() as name:
        for place in ("a.txt", "._a.txt", "deep/b.txt", "deep/.DS_Store", "__MACOSX/c.txt"):
            path = Path(name, place)
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
        tree = walk(Path(name), lambda name: name.endswith(".txt"))
        return tree.places, tree.notes


def viewed() -> Any:
    """The views that are taken, what is said of the others, and what is recorded."""
    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.sources.base import Listing
    from ecamp_fast.shards.sources.selection.views import ViewFilter

    out: list[Any] = []
    for names in ((), ("pa",), ("PA", "lateral"), ("AP",), ("oblique",)):
        views, listing, description = ViewFilter(names), Listing([]), {}
        taken = [view for view in ("PA", "PA", "AP", "AP AXIAL", "Lateral", "") if views.takes(view)]
        try:
            views.finish(listing, description)
        except DataError as error:
            description = {"error": str(error)}
        out.append((taken, listing.notes, description))
    return out


def attached() -> Any:
    """Which records get which text, of tables that are written in several ways, and what is at fault."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.sources.base import Listing, Record
    from ecamp_fast.shards.sources.selection.distilled import attach

    tables = ("study_id,text\n7.0,One.\n007,Two.\ns8,\n", "study_id\ttext\n7\tOne.\n7\tOne.\n9\tX\n")
    tables += (
        "study_id,text\n7,One.\n7,Two.\n",
        "study_id,text\n12,One.\n",
        "study_id,report,view\n7,x,PA\n",
        '{"study_id": 7, "text": "One."}\n',
    )
    out: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "d.csv")
        for content in tables:
            path.write_text(content)
            records = [Record("row", n, f"s{n}", "1", "1.jpg", "Clear." if n < 9 else "") for n in (7, 8, 9)]
            listing = Listing(records)
            try:
                stated = attach(listing, path, "mimic-cxr")
            except DataError as error:
                stated = {"error": str(error).replace(name, "")}
            texts = [record.distilled for record in records]
            out.append((texts, listing.notes, [fault.what for fault in listing.faults], stated))
    return out


def found() -> Any:
    """Which folder is read, of trees with several."""
    import tempfile
    from pathlib import Path

    from ecamp_fast.errors import DataError
    from ecamp_fast.shards.sources.selection.release import find_release

    out: list[Any] = []
    for places in (
        ("x/2.1.0/a-metadata.csv",),
        ("jpg/a-metadata.csv", "jpg/files/p10/", "dcm/cxr-record-list.csv", "dcm/files/p10/"),
        ("jpg/a-metadata.csv", "dcm/cxr-record-list.csv", "dcm/files/p10/"),
        (".snapshot/a-metadata.csv", "2.0.0/a-metadata.csv"),
        ("2.1.0/a-metadata.csv", "2.0.0/a-metadata.csv"),
        ("files/p10/a-metadata.csv", "2.0.0/._a-metadata.csv"),
    ):
        with tempfile.TemporaryDirectory() as name:
            for place in places:
                path = Path(name, place)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir(parents=True) if place.endswith("/") else path.write_text("")
            try:
                out.append(find_release(Path(name)).root.relative_to(name).as_posix())
            except DataError as error:
                out.append(str(error).replace(name, ""))
    return out


def spoken() -> Any:
    """Which reports are Spanish, and when a set of them is refused."""
    from ecamp_fast.errors import DataError
    from ecamp_fast.text.language import is_spanish, refuse_spanish

    reports = ("Sin derrame.", "The lungs are clear.", "Para-aortic density is seen.", "NEUMONÍA", "")
    out: list[Any] = [is_spanish(report) for report in reports]
    for many in (reports, reports[:2], reports[:1], [f"{report} {n}" for report in reports[:2] for n in range(3)]):
        try:
            refuse_spanish("x", many)
            out.append("read")
        except DataError as error:
            out.append(str(error))
    return out


HERE = "tests/shards/sources"

MUTANTS = (
    mutants(
        "shards/sources/leftovers.py",
        f"{HERE}/test_leftovers.py",
        passed_over,
        {
            "names are compared in their case": ("low = name.lower()", "low = name"),
            "one end of a pattern is enough": ("low.startswith(start) and low", "low.startswith(start) or low"),
            "the folder itself is hidden": ('if low in ("", ".", ".."):', 'if low == "":'),
            "what lies in such a folder is data": (
                'return any(map(is_leftover, place.split("/")))',
                'return is_leftover(place.rpartition("/")[2])',
            ),
            "folders of an archive are counted as files": ('elif not place.endswith("/"):', "else:"),
        },
    )
    + mutants(
        "shards/sources/tree.py",
        f"{HERE}/test_leftovers.py",
        walked,
        {
            "what is passed over is not told": ("    tree.notes += leftovers.notes\n", ""),
            "folders that are none are read": (
                "if is_leftover(entry.name):",
                "if is_leftover(entry.name) and not _is_folder(entry):",
            ),
        },
    )
    + mutants(
        "shards/sources/selection/views.py",
        f"{HERE}/selection/test_views.py",
        viewed,
        {
            "views are compared in their case": ("name.casefold().split()", "name.split()"),
            "a name that is none is passed over": (
                "            if folded not in spelled:",
                "            if not folded:",
            ),
            "views are recorded as they were named": (
                'description["views"] = sorted(spelled[folded] for folded in self._names)',
                'description["views"] = sorted(self._names.values())',
            ),
        },
    )
    + mutants(
        "shards/sources/selection/distilled.py",
        f"{HERE}/selection/test_distilled.py",
        attached,
        {
            "the later of two texts is dropped in silence": (
                "elif found.texts.setdefault(key, text) != text:",
                "elif found.texts.setdefault(key, text) is None:",
            ),
            "an empty text keeps the rules from writing one": (
                "found.texts.get(studies[record.study_id]) or None",
                "found.texts.get(studies[record.study_id])",
            ),
            "images alone get a text": (
                "records = [record for record in listing.records if record.report]",
                "records = list(listing.records)",
            ),
            "a file of another corpus is taken": ("not known & found.texts.keys()", "not found.texts.keys()"),
            "a report is a distilled text": ('"distilled_report")', '"distilled_report", "report")'),
            "a whole float is another study": ("key = identifier(study)", "key = study.strip()"),
        },
    )
    + mutants(
        "shards/sources/selection/release.py",
        f"{HERE}/selection/test_release.py",
        found,
        {
            "of two releases that of the reports is read": ("(_has_groups, _is_jpg)", "(_has_groups,)"),
            "hidden copies are releases": ("if not is_leftover(entry.name) and entry.is_dir()", "if entry.is_dir()"),
            "the first of several is read": ("if len(roots) > 1:", "if not roots[:1] and roots:"),
        },
    )
    + mutants(
        "ecamp_fast/text/language.py",
        "tests/text/test_language.py",
        spoken,
        {
            "half of the reports are a majority": ("2 * spanish > len(looked_at)", "2 * spanish >= len(looked_at)"),
            "one Spanish word is enough": ("return spanish > english", "return spanish > 0"),
            "accents are letters of their own": ("report.lower().translate(_PLAIN)", "report.lower()"),
        },
    )
)
