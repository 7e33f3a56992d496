"""What others ship, made small of phantoms: tables, trees, pictures, checkpoints. A function makes its path."""

import csv
from pathlib import Path
from typing import Any

import yaml
from journeys.harness import ROOT, load_beside
from journeys.mimic import trees
from journeys.own_csv import write_table
from PIL import Image

from ecamp_fast.phantom import describe, phantom

NIH_HEAD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


def csv_table(path: Path) -> None:
    """``reports.csv``, and ``images`` beside it."""
    write_table(path.parent, 20)


def picture(path: Path) -> None:
    draw(path, 1)


def picture_folder(path: Path) -> None:
    for number in range(3):
        draw(path / f"{number}.png", number)


def mimic_tree(path: Path) -> None:
    """With its reports in an archive of its own beside it."""
    tree = trees().write_tree(path, 40)
    (tree.folder / "mimic-cxr-reports.zip").rename(path.with_name("mimic-cxr-reports.zip"))


def openi_tables(path: Path) -> None:
    path.mkdir()
    reports = [["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"]]
    places = [["uid", "filename", "projection"]]
    for uid in range(1, 7):
        reports.append([str(uid), "normal", "normal", "PA", "Cough", "None.", describe(1, uid).report, ""])
        places.append([str(uid), f"{uid}.png", "Frontal"])
        draw(path / "images" / f"{uid}.png", uid)
    write_rows(path / "indiana_reports.csv", reports)
    write_rows(path / "indiana_projections.csv", places)


def chexpert(path: Path) -> None:
    from ecamp_fast.shards.sources.tasks.chexpert import CLASSES

    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CLASSES]
    for file, patients in (("train", range(1, 11)), ("valid", range(64541, 64544))):
        rows = []
        for patient in patients:
            place = f"{file}/patient{patient:05d}/study1/view1_frontal.jpg"
            draw(path / place, patient)
            rows.append([f"CheXpert-v1.0-small/{place}", "Male", "60", "Frontal", "AP", *["1.0", "0.0"] * 7])
        write_rows(path / f"{file}.csv", [head, *rows])


def nih(path: Path) -> None:
    """With the lists of the protocol in ``datasets/ChestX-ray14`` beside it."""
    names = [f"{patient:08d}_000.png" for patient in range(1, 11)]
    for number, name in enumerate(names):
        draw(path / "images_001" / "images" / name, number)
    rows = [f"{name},No Finding,0,{int(name[:8])},50,M,PA,1,1,1,1" for name in names]
    (path / "Data_Entry_2017_v2020.csv").write_text("\n".join([NIH_HEAD, *rows]) + "\n")
    lists(path.parent / "datasets" / "ChestX-ray14", [f"images_001/{name}" for name in names], 14)


def mured(path: Path) -> None:
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        draw(path / name, number)
    lists(path.parent / "datasets" / "MURED", names, 20)


def lists(folder: Path, names: list[str], classes: int) -> None:
    """Ten images in a training list, its hundredth and tenth, a list to choose by and one to test on."""
    folder.mkdir(parents=True)
    parts = {"train_list": names[:6], "train_list_1": names[:1], "train_list_10": names[:2]}
    for file, some in (parts | {"val_list": names[6:8], "test_list": names[8:]}).items():
        (folder / f"{file}.txt").write_text("".join(f"{name}{' 0' * (classes - 1)} 1\n" for name in some))


def labelled_tables(path: Path) -> None:
    """``images.csv`` without reports; beside it ``masks.csv`` and ``boxes.csv`` of the same pictures."""
    rows: dict[str, list[list[Any]]] = {
        "images": [["study_id", "image_path"]],
        "masks": [["image_path", "mask_path", "label"]],
        "boxes": [["image_path", "label", "x", "y", "width", "height"]],
    }
    for number in range(12):
        name, mask = f"pictures/{number}.png", f"pictures/{number}-mask.png"
        draw(path.parent / name, number)
        whole = Image.new("L", (96, 96))
        whole.paste(255, (10, 10, 40, 40))
        whole.save(path.parent / mask)
        rows["images"].append([f"s{number}", name])
        rows["masks"].append([name, mask, "mass"])
        rows["boxes"].append([name, "mass", 10, 10, 30, 30])
    for table, lines in rows.items():
        write_rows(path.with_name(f"{table}.csv"), lines)


def grid(path: Path) -> None:
    """Of one encoder and one task, as docs/downstream.md has a larger one."""
    task = {"task": "probe", "data": "SET"}
    path.write_text(yaml.safe_dump({"encoders": {"ours": "runs/demo"}, "tasks": {"phantoms": task}}))


def mae_checkpoint(path: Path) -> None:
    """MAE's encoder, of TINY's sizes, as its authors save theirs."""
    import torch
    from journeys.small_models import released

    state = {name: tensor for name, tensor in released().items() if name.startswith(IMAGE_SIDE)}
    torch.save({"model": state, "epoch": 3}, path)


def ecamp_checkpoint(path: Path) -> None:
    """The authors' whole model, of TINY's sizes."""
    import torch
    from journeys.small_models import released

    torch.save({"model": released()}, path)


IMAGE_SIDE = ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")


def bert_folder(path: Path) -> None:
    """A BERT of small sizes, as transformers saves one, with the words of phantoms' reports."""
    from journeys.small_models import write_bert

    write_bert(path)


def language_model(path: Path) -> None:
    """A causal model of small sizes with a chat template."""
    texts = [describe(1, number).report for number in range(20)]
    load_beside(ROOT / "tests" / "distill" / "test_student.py").write_base(path, texts)


def resnet(path: Path) -> None:
    import torch
    from torchvision.models import resnet50

    torch.save(resnet50().state_dict(), path)


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(phantom(3, number, 96).image).save(path)


def write_rows(path: Path, rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def tracker_modules(path: Path) -> None:
    """trackio and wandb as folders of modules, which note what they are told."""
    from journeys.tracker import write_module

    for name in ("trackio", "wandb"):
        write_module(path / name)


def hosts(path: Path) -> None:
    """DeepSpeed's hostfile of this machine alone."""
    path.write_text("localhost slots=1\n")
