"""From verified JPEG bytes to the high-resolution view: one DALI pipeline, on the GPU or on the CPU.

Decodes only the crop, resizes it by an antialiased bicubic filter, mirrors it. The grey uint8 result is what the model
gets; normalisation is the kernels' work. On the CPU DALI decodes and PyTorch resizes: DALI's own filter takes longer
there than decoding does. The two filters are the same but for rounding, and for clamping between the axes, which only
the CPU's does: at hard edges, such as burnt-in marks, a few pixels differ by up to 20 grey levels.
"""

import io
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, pipeline_def, types
from nvidia.dali.plugin.pytorch import feed_ndarray
from PIL import Image
from torch import Tensor

from ecamp_fast.errors import DataError, EnvironmentFault
from ecamp_fast.shards.load.resize import resize

IN_FLIGHT = 2  # batches DALI works on at a time

Jpegs = Sequence[bytes]


@pipeline_def
def _crops() -> Any:
    """For the CPU: the crops, (h, w, 1) each; ``resize`` brings them to one size."""
    return _decoded("cpu", region=True)


@pipeline_def
def gpu_views(size: int, region: bool, hardware: float, backend: str = "mixed") -> Any:
    """For the GPU: views (1, size, size).  region, hardware: see ``JpegDecoder``   backend: "cpu": without a GPU."""
    options = {"hw_decoder_load": hardware} if backend == "mixed" else {}
    view = _decoded(backend, region, **options)
    view = fn.resize(view, size=[size, size], interp_type=types.INTERP_CUBIC, antialias=True)
    view = fn.flip(view, horizontal=fn.external_source(name="flip", dtype=types.INT32, ndim=0))
    return fn.reshape(view, shape=[1, size, size], layout="CHW")  # one channel: HWC and CHW are the same bytes


def _decoded(backend: str, region: bool, **options: Any) -> Any:
    """The crop. Its place is on the host on both devices: an argument, not data."""
    jpeg = fn.external_source(name="jpeg", dtype=types.UINT8, ndim=1)
    anchor = fn.external_source(name="anchor", dtype=types.INT32, ndim=1)
    shape = fn.external_source(name="shape", dtype=types.INT32, ndim=1)
    place = {"start": anchor, "shape": shape, "axis_names": "HW"}
    # boxes are drawn on the stored picture, and the builder has turned it upright
    options |= {"output_type": types.GRAY, "adjust_orientation": False, "device": backend}
    if region:
        return fn.decoders.image_slice(jpeg, **place, **options)
    return fn.slice(fn.decoders.image(jpeg, **options), **place)


@dataclass(frozen=True, slots=True)
class _Request:
    keys: Sequence[str]
    jpegs: list[np.ndarray]
    boxes: np.ndarray
    flipped: np.ndarray


class JpegDecoder:
    """Decodes batches of at most ``batch_size`` on ``device``; up to two may be under way at a time.

    high_size  pixels per side of the view
    threads    of the CPU, for decoding; on a GPU for parsing and the part of the work that nvJPEG leaves to the host
    region     on a GPU, whether only the crop is decoded
    hardware   on a GPU, the share of images for the JPEG engine, see ``LoaderConfig``
    pool       resizes on the CPU; None: the calling thread does

    Not to be shared by threads.
    """

    def __init__(
        self,
        batch_size: int,
        high_size: int,
        device: torch.device | str,
        threads: int,
        *,
        region: bool = True,
        hardware: float = 0.65,
        pool: Executor | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.high_size = high_size
        self._threads = threads
        self._region, self._hardware = region, hardware
        self._pool = pool
        self._on_gpu = self.device.type == "cuda"
        self._index: int | None = None
        self._stream: torch.cuda.Stream | None = None
        if self._on_gpu:
            self._index = torch.cuda.current_device() if self.device.index is None else self.device.index
            self._stream = torch.cuda.Stream(self._index)
        try:
            self._pipeline = self._build(batch_size)
        except RuntimeError as error:
            raise EnvironmentFault(f"DALI cannot decode on {self.device}: {error}", "run `ecamp-fast doctor`") from None
        self._waiting: deque[_Request] = deque()

    def __len__(self) -> int:
        """Batches submitted and not yet fetched."""
        return len(self._waiting)

    def submit(self, keys: Sequence[str], jpegs: Jpegs, boxes: np.ndarray, flipped: np.ndarray) -> None:
        """Start a batch.

        keys     names of the samples, for errors
        jpegs    content of their files
        boxes    (B, 4) int32: top, left, height, width, inside the image
        flipped  (B,) bool

        Raises DataError as ``fetch`` does, RuntimeError if two batches are already under way.
        """
        if len(self._waiting) >= IN_FLIGHT:
            raise RuntimeError(f"{IN_FLIGHT} batches are under way: fetch one first")
        content = [np.frombuffer(jpeg, np.uint8) for jpeg in jpegs]
        request = _Request(keys, content, np.asarray(boxes, np.int32), np.asarray(flipped, np.int32))
        self._waiting.append(request)
        try:
            _feed(self._pipeline, request, self._on_gpu)
            self._pipeline.schedule_run()
        except RuntimeError as error:
            raise self._fault(error) from None

    def fetch(self) -> Tensor:
        """The oldest batch under way: (B, 1, S, S) uint8 on the device, complete and ours to keep.

        Raises DataError naming the first sample that does not decode; the decoder is then of no more use.
        """
        if not self._waiting:
            raise RuntimeError("no batch is under way")
        try:
            out = self._copy()
        except RuntimeError as error:
            raise self._fault(error) from None
        self._waiting.popleft()
        return out

    def context(self) -> AbstractContextManager[Any]:
        """Makes the decoder's CUDA stream the current one, for copies that ``fetch`` shall wait for too."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def decode(self, keys: Sequence[str], jpegs: Jpegs, boxes: np.ndarray, flipped: np.ndarray) -> Tensor:
        """``submit`` and ``fetch``."""
        self.submit(keys, jpegs, boxes, flipped)
        return self.fetch()

    def _copy(self) -> Tensor:
        """DALI writes the next batch into its buffers, so the result is copied out before they are released."""
        if self._stream is None:
            (crops,) = self._pipeline.share_outputs()
            out = self._resized([np.asarray(crops.at(row))[..., 0] for row in range(len(crops))])
        else:
            (views,) = self._pipeline.share_outputs(cuda_stream=self._stream)
            with self.context():
                out = torch.empty(tuple(views.as_tensor().shape()), dtype=torch.uint8, device=self.device)
                feed_ndarray(views.as_tensor(), out, cuda_stream=self._stream)
            self._stream.synchronize()
        self._pipeline.release_outputs()
        return out

    def _resized(self, crops: list[np.ndarray]) -> Tensor:
        out = np.empty((len(crops), 1, self.high_size, self.high_size), np.uint8)

        def one(row: int) -> None:
            out[row, 0] = resize(crops[row], self.high_size, bool(self._waiting[0].flipped[row]))

        deque((self._pool.map if self._pool else map)(one, range(len(crops))), maxlen=0)
        return torch.from_numpy(out)

    def _build(self, batch_size: int) -> Pipeline:
        """A pipeline that has run: the first ``schedule_run`` of DALI's runs ``IN_FLIGHT`` batches at once."""
        options = {
            "batch_size": batch_size,
            "num_threads": self._threads,
            "device_id": self._index,
            "prefetch_queue_depth": IN_FLIGHT,
        }
        if self._on_gpu:
            pipeline = gpu_views(self.high_size, self._region, self._hardware, **options)
        else:
            pipeline = _crops(**options)
        pipeline.build()
        for _ in range(IN_FLIGHT):
            _feed(pipeline, _blank(), self._on_gpu)
        pipeline.schedule_run()
        for _ in range(IN_FLIGHT):
            pipeline.share_outputs()
            pipeline.release_outputs()
        return pipeline

    def _fault(self, error: RuntimeError) -> DataError:
        """DALI does not say which sample of a batch is bad: try those under way one by one, on the same device."""
        for request in self._waiting:
            for row, key in enumerate(request.keys):
                if not self._decodes(request, row):
                    return DataError(
                        f"sample {key}: its JPEG has the right checksum, but does not decode",
                        "repair or remove it at its source and build the set again",
                    )
        keys = ", ".join(self._waiting[0].keys)
        return DataError(f"DALI failed on the batch of samples {keys}: {error}", "see DALI's own message above")

    def _decodes(self, request: _Request, row: int) -> bool:
        one = slice(row, row + 1)
        try:
            pipeline = self._build(1)  # a pipeline that has failed stays failed
            alone = _Request(request.keys[one], request.jpegs[one], request.boxes[one], request.flipped[one])
            _feed(pipeline, alone, self._on_gpu)
            pipeline.schedule_run()
            pipeline.share_outputs()
        except RuntimeError:
            return False
        return True


def _blank() -> _Request:
    """A batch of one black picture."""
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG")
    box = np.array([[0, 0, 8, 8]], np.int32)
    return _Request(("blank",), [np.frombuffer(file.getvalue(), np.uint8)], box, np.zeros(1, np.int32))


def _feed(pipeline: Pipeline, request: _Request, flips: bool) -> None:
    """flips: whether the pipeline mirrors"""
    pipeline.feed_input("jpeg", request.jpegs)
    pipeline.feed_input("anchor", np.ascontiguousarray(request.boxes[:, :2]))
    pipeline.feed_input("shape", np.ascontiguousarray(request.boxes[:, 2:]))
    if flips:
        pipeline.feed_input("flip", request.flipped)
