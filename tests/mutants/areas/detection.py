"""Detection: the heads' sizes, assignment, loss and decoding, what is kept, and average precision."""

from typing import Any

from mutant import mutants

YOLO = "tests/downstream/test_yolo.py"
FCOS = "tests/downstream/test_fcos.py"
PRECISION = "tests/downstream/test_average_precision.py"


def _boxes() -> Any:
    import torch

    small = [[100.0, 100.0, 104.0, 104.0], [101.0, 90.0, 131.0, 150.0], [102.0, 92.0, 130.0, 148.0]]
    some = [
        torch.tensor(small),
        torch.zeros(0, 4),
        torch.tensor([[10.0, 20.0, 150.0, 90.0], [200.0, 180.0, 224.0, 224.0]]),
    ]
    return some, [torch.tensor([0, 1, 0]), torch.zeros(0, dtype=torch.int64), torch.tensor([1, 1])]


def _yolo(mgca: bool = False) -> Any:
    import torch

    from ecamp_fast.downstream.heads.yolo import YoloDetector

    torch.manual_seed(3)
    return YoloDetector(16, 4, 224, 2, channels=32, reduction=2, min_score=0.4, mgca=mgca)


def sized() -> Any:
    """Weights and shapes of both heads."""
    import torch

    from ecamp_fast.downstream.heads.fcos import FcosDetector
    from ecamp_fast.downstream.heads.yolo import YoloDetector

    with torch.device("meta"):
        yolo = YoloDetector(768, 14, 224, 1)
        shapes = [tuple(one.shape) for one in yolo(torch.empty(1, 196, 768))]
        fcos = FcosDetector(96, 7, 64, 8)
    return [sum(p.numel() for p in m.parameters()) for m in (yolo, fcos)], shapes, fcos.levels


def taught() -> Any:
    """Losses and what is assigned, with and without the released conventions."""
    import torch

    boxes, labels = _boxes()
    tokens = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1))
    found: list[Any] = []
    for mgca in (False, True):
        found.append(round(_yolo(mgca).loss(tokens, boxes, labels).item(), 6))
    from ecamp_fast.downstream.heads.yolo import assign

    for stride in (8.0, 32.0):
        one = assign(boxes, labels, _yolo().anchors[1], int(224 / stride), stride)
        found.append([one.anchor.tolist(), one.row.tolist(), one.label.tolist(), int(one.background.sum())])
    return found


def told() -> Any:
    """Boxes decoded by both heads."""
    import torch

    from ecamp_fast.downstream.heads.fcos import FcosDetector

    tokens = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(4)
    fcos = FcosDetector(16, 4, 64, 3, channels=32)
    fcos.fcos.head.classification_head.cls_logits.weight.data *= 80
    fcos.fcos.head.regression_head.bbox_reg[0].weight.data *= 50
    found = []
    for detector in (_yolo().eval(), _yolo(True).eval(), fcos.eval()):
        for one in detector.detect(tokens):
            found.append(
                [one.boxes.round(decimals=2).tolist(), one.scores.round(decimals=4).tolist(), one.labels.tolist()]
            )
    return found


def kept() -> Any:
    """Of many boxes, and of boxes that overlap."""
    import torch

    from ecamp_fast.downstream.heads.detections import keep_best

    corner = torch.arange(150.0)[:, None] * 2
    apart = torch.cat([corner, corner, corner + 1, corner + 1], 1)
    near = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 4.0], [-3.0, 0.0, 9.0, 3.9]])
    found = [keep_best(apart, torch.linspace(0, 1, 150), torch.zeros(150, dtype=torch.int64), 0, 0.5)]
    for size, pixel in ((0, 0.0), (0, 1.0), (8, 0.0)):
        found.append(keep_best(near, torch.tensor([0.3, 0.9, 0.5]), torch.tensor([1, 1, 1]), size, 0.49, pixel))
    return [[one.boxes.tolist(), one.scores.tolist()] for one in found]


def scored() -> Any:
    """Average precision of all images, of resampled patients, and by MGCA's count."""
    import numpy as np

    from ecamp_fast.downstream.tasks.average_precision import Boxes, average_precision

    rng = np.random.default_rng(5)
    found, truth = [], []
    for image in range(30):
        corner = rng.uniform(0, 100, (image % 4, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 60, corner.shape)], 1)
        labels = rng.integers(0, 2, len(boxes))
        truth.append(Boxes(boxes, labels))
        more = rng.uniform(0, 100, (image % 3, 2))
        near = np.concatenate([boxes + rng.normal(0, 3, boxes.shape), np.concatenate([more, more + 30], 1)])
        kinds = np.concatenate([labels, np.zeros(len(more), np.int64)])
        found.append(Boxes(near, kinds, rng.uniform(size=len(near))))
    weights = rng.multinomial(30, np.full(30, 1 / 30), 3)
    many = Boxes(
        np.array([[50.0, 50, 60, 60]] * 100 + [[10.0, 10, 20, 20]]), np.zeros(101, int), np.linspace(1, 0.1, 101)
    )
    square = Boxes(np.array([[10.0, 10, 20, 20]]), np.zeros(1, int))
    return [
        average_precision(found, truth, 3, weights=weights).round(9).tolist(),
        average_precision(found, truth, 3, counted="mgca").round(9).tolist(),
        average_precision([many], [square], 1).tolist(),
    ]


def cached() -> Any:
    """Samples of a cache in the order of training."""
    from types import SimpleNamespace

    import torch

    from ecamp_fast.downstream.data.samples import TaskBatch
    from ecamp_fast.downstream.data.token_cache import TokenCache

    class Data:
        seed, device = 3, torch.device("cpu")

        def __len__(self) -> int:
            return 7

        def ordered(self, batch: int) -> Any:
            images = torch.arange(7)[:, None, None, None].to(torch.uint8)
            boxes = [torch.full((1, 4), float(i)) for i in range(7)]
            yield TaskBatch(
                images, torch.zeros(7, 0), None, boxes, [torch.tensor([i]) for i in range(7)], torch.arange(7)
            )

    class Tokens(SimpleNamespace):
        def __call__(self, images: Any) -> Any:
            return images.float().reshape(-1, 1, 1)

    cache = TokenCache(Tokens(grid=1, width=1), Data())  # type: ignore[arg-type]
    batches = [*cache.ordered(3), *cache.training(3, 1, 4)]
    return [[b.inputs.flatten().tolist(), [box[0, 0].item() for box in b.boxes], len(b.labels)] for b in batches]


def papers() -> Any:
    from ecamp_fast.downstream.training.settings import load_settings, row_names

    return [load_settings("detect", name).model_dump() for name in row_names("detect")]


HEADS = "ecamp_fast/downstream/heads/"
MUTANTS = [
    *mutants(
        HEADS + "neck.py",
        YOLO,
        sized,
        {
            "the coarse scale has a bias": ("stride=2, bias=False", "stride=2, bias=True"),
            "the fine scale is no finer": ("scale_factor=2", "scale_factor=1"),
        },
    ),
    *mutants(
        HEADS + "yolo.py",
        YOLO,
        taught,
        {
            "an assigned anchor is background too": ("    if not mgca:\n", "    if mgca:\n"),
            "anchors that are alike are background": (
                "background[image[similar], which",
                "background[image[similar], which - which",
            ),
            "shapes are compared without the pixel more": ("_at_origin(side + mgca)", "_at_origin(side)"),
            "the first of two boxes stands": ('number, "amax")', 'number, "amin", include_self=False)'),
            "the offset is of the image": ("offset = centre - torch.stack([column, row], 1)", "offset = centre % 0.5"),
            "sizes are not over the anchor's": (
                "log_size = (side / anchor_side[anchor]).log()",
                "log_size = side.log()",
            ),
            "background weighs as much as boxes": (
                "COORDINATES, BACKGROUND = 2.5, 0.5",
                "COORDINATES, BACKGROUND = 2.5, 1.0",
            ),
            "coordinates weigh one": ("COORDINATES, BACKGROUND = 2.5, 0.5", "COORDINATES, BACKGROUND = 1.0, 0.5"),
            "a mean over boxes": ("* empty + kind) / cells", "* empty + kind) / len(answers)"),
            "classes are summed": (" / classes.shape[1]", ""),
        },
    ),
    *mutants(
        HEADS + "yolo.py",
        YOLO,
        told,
        {
            "x and y are swapped": ('indexing="xy"', 'indexing="ij"'),
            "sizes are doubled": ("anchors[:, None, None] / 2", "anchors[:, None, None]"),
        },
    ),
    *mutants(
        HEADS + "fcos.py",
        FCOS,
        told,
        {
            "centredness is forgotten": ('* outputs["bbox_ctrness"].sigmoid()).sqrt()', ").sqrt()"),
            "points are corners": (
                "edge = torch.arange(count) * (size / count)",
                "edge = (torch.arange(count) - 0.5) * (size / count)",
            ),
            "x and y of points are swapped": ("torch.stack([x, y], -1)", "torch.stack([y, x], -1)"),
        },
    ),
    *mutants(
        HEADS + "fcos.py",
        FCOS,
        sized,
        {"an odd grid is halved downwards": ("((grid + 1) // 2) ** 2]", "(grid // 2) ** 2]")},
    ),
    *mutants(
        HEADS + "detections.py",
        f"{YOLO} {FCOS}",
        kept,
        {
            "two hundred are kept": ("LIMIT = 100", "LIMIT = 200"),
            "boxes reach out of the image": ("    if size:\n", "    if size < 0:\n"),
            "the pixel more is forgotten": ("[0, 0, pixel, pixel]", "[0, 0, 0, 0]"),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/tasks/average_precision.py",
        PRECISION,
        scored,
        {
            "overlaps are COCO's": ("round(0.4 + 0.05 * step, 2)", "round(0.5 + 0.05 * step, 2)"),
            "more detections count": ("LIMIT = 100", "LIMIT = 1000"),
            "images without detections are left out": ('if counted == "mgca":', "if True:"),
            "MGCA's count has images without boxes": (
                "if len(found[i].boxes) and len(truth[i].boxes)",
                "if len(found[i].boxes)",
            ),
            "a draw counts each image once": ("draw.astype(np.int64))", "draw.astype(np.int64).clip(max=1))"),
            "an absent class counts": (
                "np.where((values < 0).any((0, 1)), np.nan,",
                "np.where((values < -1).any((0, 1)), np.nan,",
            ),
        },
    ),
    *mutants(
        "ecamp_fast/downstream/data/token_cache.py",
        "tests/downstream/test_detect.py",
        cached,
        {
            "another order than images have": ("positions)[1])", "positions)[1][::-1].copy())"),
            "boxes of other images": ("[self._boxes[i] for i in chosen]", "[self._boxes[0] for i in chosen]"),
        },
    ),
    *mutants(
        "ecamp_fast/recipes/tasks/detect.yaml",
        "tests/downstream/test_detect.py",
        papers,
        {
            "1 % takes larger batches": ("batch: 96", "batch: 128"),
            "the trunk is trained": ("frozen: true", "frozen: false"),
        },
    ),
]
