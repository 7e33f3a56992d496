"""The operations of ECAMP: their definitions, their PyTorch paths and their Triton kernels, interpreted."""

from typing import Any

from mutant import mutants

BACKENDS = ("torch", "triton")


def pixels() -> Any:
    """Of images: half the side, chosen patches, the error of masked ones."""
    import torch

    from ecamp_fast.kernels.low_resolution import low_resolution, low_resolution_ref
    from ecamp_fast.kernels.masked_mse import masked_mse, masked_mse_ref
    from ecamp_fast.kernels.patch_gather import patch_gather, patch_gather_ref
    from ecamp_fast.kernels.pixels import normalise

    draw = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 1, 8, 4), dtype=torch.uint8, generator=draw)
    grey = normalise(image, 0.47, 0.3)
    keep = torch.tensor([[1], [0]])
    prediction = torch.randn(2, 2, 48, generator=draw).requires_grad_()
    tensors = [grey, patch_gather_ref(grey, keep, 4)]
    tensors += [low_resolution_ref(image, 0.47, 0.3, antialias) for antialias in (False, True)]
    losses = [masked_mse_ref(prediction, grey, keep, 4, norm_pix) for norm_pix in (False, True)]
    for backend in BACKENDS:
        tensors += [low_resolution(image, 0.47, 0.3, antialias, backend) for antialias in (False, True)]
        tensors.append(patch_gather(grey, keep, 4, backend=backend))
        losses += [masked_mse(prediction, grey, keep, 4, norm_pix, backend) for norm_pix in (False, True)]
    tensors += [torch.autograd.grad(loss, prediction)[0][:, :, :5] for loss in losses] + losses
    return [tensor.detach().double().round(decimals=4).tolist() for tensor in tensors]


def tokens() -> Any:
    """Of tokens: back in their places, the words that were predicted; and the rules of all operations."""
    import torch

    from ecamp_fast.kernels import weighted_cross_entropy as words
    from ecamp_fast.kernels.dispatch import accum_dtype, check_indices
    from ecamp_fast.kernels.tuning import recorded, tuned
    from ecamp_fast.kernels.unshuffle import unshuffle

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw).requires_grad_()

    draw = torch.Generator().manual_seed(0)
    visible, mask_token, positions, keep = (
        some(2, 4, 5),
        some(1, 1, 5),
        some(1, 7, 5),
        torch.tensor([[3, 0, 5], [2, 4, 1]]),
    )
    rows = some(9, 4), some(11, 4), some(11)
    labels, weights = torch.tensor([0, 3, 10, 10, 2, 7, 1, 0, 5]), torch.rand(9, generator=draw) + 0.5
    words._chunking = lambda device: (11 * 4 * 4, False)
    words.tuned = lambda *_: {"COLUMNS": 4}
    words.CHUNK_LOGITS, words.SLICE_LOGITS = 44, 22
    tensors: list[torch.Tensor] = []
    for backend in BACKENDS:
        full = unshuffle(visible, mask_token, positions, keep, backend)
        loss = words.weighted_cross_entropy(*rows, labels, weights, backend) / 3
        tensors += [full, loss, *torch.autograd.grad(loss, rows)]
        tensors += torch.autograd.grad(full, (visible, mask_token, positions), some(2, 7, 5))
    dtypes = [str(accum_dtype(torch.zeros(1, dtype=kind))) for kind in (torch.float16, torch.bfloat16, torch.float64)]
    try:
        check_indices("op", "keep", torch.tensor([4]), 4)
        dtypes.append("taken")
    except ValueError:
        dtypes.append("refused")
    for chip in ("sm_75", "sm_90", "sm_120"):
        with recorded(chip):
            dtypes.append(str(tuned("sr_loss", torch.device("cpu"))))
    return dtypes, [tensor.detach().double().round(decimals=4).tolist() for tensor in tensors]


def sharp() -> Any:
    """Of super-resolution: the loss and its gradients, for every guidance."""
    import torch

    from ecamp_fast.kernels import sr_loss as module
    from ecamp_fast.kernels.guidance import Window, pixel_weights, soft_weights
    from ecamp_fast.kernels.sr_torch import Convolutions

    module.tuned = lambda *_: {"TILE": 4, "BLOCKS": 64, "PROGRAMS": 1}
    module.CORE_VALUES = 1  # one picture after the other
    draw = torch.Generator().manual_seed(0)
    leaves = [torch.randn(shape, generator=draw) * 0.5 for shape in [(2, 3, 4, 4), *[(3, 3, 3, 3), (3,)] * 2]]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    image = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=draw)
    grid = torch.rand(2, 3, 3, generator=draw) ** 6
    tensors = [soft_weights(grid)]
    for guidance in (grid, Window(torch.tensor([[0, 1], [1, 1]]), 3, 2), None):
        tensors.append(1000 * pixel_weights(guidance, 2, 3, 8, torch.device("cpu")))
        for backend in BACKENDS if guidance is grid else BACKENDS[:1]:
            relu, head = guidance is None, Convolutions(*leaves[1:])
            loss = module.sr_loss(leaves[0], head, image, guidance, 0.47, 0.3, relu, backend)
            tensors += [loss, *torch.autograd.grad(loss, leaves)]
    return [tensor.detach().double().round(decimals=4).tolist() for tensor in tensors]


def tiled() -> Any:
    """Of super-resolution: a picture that takes several tiles of the kernel."""
    import torch

    from ecamp_fast.kernels import sr_loss as module
    from ecamp_fast.kernels.guidance import Window
    from ecamp_fast.kernels.sr_torch import Convolutions

    module.tuned = lambda *_: {"TILE": 2, "BLOCKS": 64, "PROGRAMS": 1}
    draw = torch.Generator().manual_seed(0)
    leaves = [torch.randn(shape, generator=draw) * 0.5 for shape in [(1, 3, 3, 3), *[(3, 3, 3, 3), (3,)] * 2]]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    image, window = torch.zeros(1, 1, 6, 6, dtype=torch.uint8), Window(torch.tensor([[2, 2]]), 1, 2)
    loss = module.sr_loss(leaves[0], Convolutions(*leaves[1:]), image, window, 0.47, 0.3, backend="triton")
    tensors = loss, *torch.autograd.grad(loss, leaves)
    return [tensor.detach().double().round(decimals=5).tolist() for tensor in tensors]


FOLDER = "tests/kernels"
PIXELS = f"{FOLDER}/test_pixels.py"
LOW = f"{FOLDER}/test_low_resolution.py"
GATHER = f"{FOLDER}/test_patch_gather.py"
MASKED = f"{FOLDER}/test_masked_mse.py"
UNSHUFFLE = f"{FOLDER}/test_unshuffle.py"
WORDS = f"{FOLDER}/test_weighted_cross_entropy.py"
GUIDANCE = f"{FOLDER}/test_guidance.py"
SR = f"{FOLDER}/test_sr_loss.py"
SR_TORCH = f"{FOLDER}/test_sr_torch.py"
SR_TRITON = f"{FOLDER}/test_sr_triton.py"

MUTANTS = [
    *mutants(
        "kernels/pixels.py",
        f"{PIXELS} {GATHER}::test_kernel_finds_patches_of_an_image_wider_than_high",
        pixels,
        {
            "grey has 256 levels": ("image.to(dtype).mul_(1 / (255 * std))", "image.to(dtype).mul_(1 / (256 * std))"),
            "a kernel subtracts the mean behind the division": ("-mean / std)", "-mean)"),
            "a kernel's patches lie as if the image were as high as wide": (
                "cell // (W // P) * P",
                "cell // (H // P) * P",
            ),
            "a kernel lays pixels of a patch by columns": (
                "* P + pixel // P\n    x = cell % (W // P) * P + pixel % P",
                "* P + pixel % P\n    x = cell % (W // P) * P + pixel // P",
            ),
        },
    ),
    *mutants(
        "kernels/low_resolution.py",
        f"{LOW}::test_plain_is_the_four_tap_kernel {LOW}::test_antialiased_equals_pillow_in_float"
        f" {LOW}::test_kernel_on_strided_images_repeats_and_writes_all",
        pixels,
        {
            "the plain taps are those of a = -0.5": (
                "tl.constexpr((-3, 19, 19, -3))",
                "tl.constexpr((-2, 18, 18, -2))",
            ),
            "a kernel's taps lie a pixel late": ("= 1 - TAPS // 2", "= 2 - TAPS // 2"),
            "a kernel's plain taps leave out what lies above and below the image": (
                "row = row if ANTIALIAS else tl.minimum(tl.maximum(row, 0), H - 1)",
                "row = row",
            ),
            "the mean of the small image is subtracted behind the division": (
                ".mul_(1 / (255 * std)).sub_(mean / std)",
                ".mul_(1 / (255 * std)).sub_(mean)",
            ),
            "the small image is always antialiased": (
                "antialias=antialias, align_corners",
                "antialias=True, align_corners",
            ),
            "the small image is sampled at its corners": ("align_corners=False)", "align_corners=not antialias)"),
        },
    ),
    *mutants(
        "kernels/patch_gather.py",
        f"{GATHER}::test_equals_the_definition {GATHER}::test_rows_are_the_pixels_of_the_patch",
        pixels,
        {
            "the rows are the columns": ("keep // across, keep % across]", "keep % across, keep // across]"),
            "each sample gets the patches of the first": ("cells[sample, keep", "cells[sample * 0, keep"),
        },
    ),
    *mutants(
        "kernels/masked_mse.py",
        f"{MASKED}::test_equals_maes_formula {MASKED}::test_kernel_takes_strided_inputs"
        f" {MASKED}::test_kernel_standardises_pixels_as_the_definition_does",
        pixels,
        {
            "the mean is over all patches": ("/ max(rows.numel(), 1)", "/ max(prediction.numel(), 1)"),
            "the variance is divided by all values": (
                "(channels * target.shape[-1] - 1)",
                "(channels * target.shape[-1])",
            ),
            "a kernel's variance is that of one channel": ("(C / (P * P * C - 1))", "(1 / (P * P - 1))"),
            "a kernel's gradient is half as large": ("share = 2.0 / max(", "share = 1.0 / max("),
            "a kernel lays the channels of the error slowest": (
                "value // C, 0), axis=0)\n        squares",
                "value % (P * P), 0), axis=0)\n        squares",
            ),
            "a kernel gives the gradient to patches that were seen": (
                "tl.sum(times, axis=0) == 0",
                "tl.sum(times, axis=0) > 0",
            ),
        },
    ),
    *mutants(
        "kernels/unshuffle.py",
        f"{UNSHUFFLE}::test_output_and_gradients_equal_maes {UNSHUFFLE}::test_kernel_takes_strided_inputs",
        tokens,
        {
            "the class token has no position": (
                "torch.cat([visible[:, :1], full], dim=1) + positions",
                "torch.cat([visible[:, :1], full + positions[:, 1:]], dim=1)",
            ),
            "a kernel puts each token a place early": ("number[None, :] + 1 == token", "number[None, :] == token"),
            "tokens that were seen teach the mask token": (
                "tl.where((row < 0) | invalid, grad_out.to(tl.float32), 0.0)",
                "tl.where((row <= kept) | invalid, grad_out.to(tl.float32), 0.0)",
            ),
            "the mask token learns from the mean of the samples": ("d_mask_token.sum(0)", "d_mask_token.mean(0)"),
            "the table learns from the first sample": (
                "grad_out.to(accum_dtype(grad_out)).sum(0, keepdim=True)",
                "grad_out.to(accum_dtype(grad_out))[:1]",
            ),
        },
    ),
    *mutants(
        "kernels/weighted_cross_entropy.py",
        f"{WORDS}::test_value_by_hand {WORDS}::test_gradients",
        tokens,
        {
            "the gradient at the true word is not weighted": (
                "grad.scatter_add_(1, label, -weight)",
                "grad.scatter_add_(1, label, -weight.sign())",
            ),
            "weights do not count in the loss": ("z.gather(1, label)) * weight)", "z.gather(1, label)) * 1)"),
            "each slice has the labels of the first": (
                "labels[piece, None], weights[piece, None]",
                "labels[: len(logits[piece]), None], weights[piece, None]",
            ),
            "the bias learns from the last slice alone": ("d_bias += grad.sum(0)", "d_bias.copy_(grad.sum(0))"),
            "the vocabulary learns from the last chunk alone": (
                "return product if total is None else total.to(accum_dtype(total)).add_(product)",
                "return product",
            ),
        },
    ),
    *mutants(
        "kernels/weighted_cross_entropy.py",
        f"{WORDS}::test_kernel_in_chunks_of_two_rows",
        tokens,
        {
            "a kernel forgets the largest logit so far": (
                "total * tl.exp(top - higher) + tl.sum",
                "total + tl.sum",
            ),
            "a kernel takes one from every share of a row": (
                "tl.where(first + columns == label, share - 1.0, share)",
                "share - 1.0 / V",
            ),
            "a kernel's chunks have the weights of the first": (
                "labels[part], weights[part], losses",
                "labels[part], weights, losses",
            ),
            "a kernel's gradient is not weighted": ("grad = weight * tl.where(", "grad = tl.where("),
        },
    ),
    *mutants(
        "kernels/guidance.py",
        f"{GUIDANCE}::test_soft_weights_by_hand {GUIDANCE}::test_window_loss_is_the_released_formula"
        f" {GUIDANCE}::test_relative_attention_is_clipped_and_an_empty_grid_is_even"
        f" {GUIDANCE}::test_weights_of_two_cells_by_hand",
        sharp,
        {
            "attention is clipped at eight times the mean": ("CLIP = (0.25, 4.0)", "CLIP = (0.25, 8.0)"),
            "attention is relative to the mean of the batch": ("grid.mean((1, 2), keepdim=True)", "grid.mean()"),
            "samples with more attention weigh more": (
                "weights.sum((2, 3), keepdim=True) * (batch",
                "weights.sum() / batch * (batch",
            ),
            "the window lacks its first row and column": (
                "(pixel >= first[..., None])",
                "(pixel > first[..., None])",
            ),
            "the window is the mean over its own pixels": (
                "return square[:, None].float() / (batch * channels * size * size)",
                "return square[:, None].float() / (batch * channels * (guidance.extent * guidance.cell) ** 2)",
            ),
            "a kernel swaps the shares of the cells above and below": (
                "(1 - part_y) * upper + part_y * lower",
                "part_y * upper + (1 - part_y) * lower",
            ),
            "a kernel samples the grid at its corners": (
                "down = (2 * tl.minimum(tl.maximum(y, 0), S - 1) + 1) * CELLS + S",
                "down = (2 * tl.minimum(tl.maximum(y, 0), S - 1)) * CELLS + S",
            ),
        },
    ),
    *mutants(
        "kernels/sr_torch.py",
        SR_TORCH,
        sharp,
        {
            "there is no residual": ("convolutions.bias_2, padding=1) + up", "convolutions.bias_2, padding=1)"),
            "the first convolution has no ReLU": (
                "relu(conv2d(up, convolutions.weight_1, convolutions.bias_1, padding=1))",
                "conv2d(up, convolutions.weight_1, convolutions.bias_1, padding=1)",
            ),
            "the gradient passes where the input was positive": ("(stages.middle > 0)", "(stages.up > 0)"),
            "the residual has no gradient": (
                "_upsample2x_backward(grad_up.add_(grad_high))",
                "_upsample2x_backward(grad_up)",
            ),
            "the edge is padded with zeros": ('mode="replicate")', 'mode="constant")'),
            "an edge pixel does not answer for its replica": (
                "        edged.narrow(axis, 1, 1).add_(edged.narrow(axis, 0, 1))\n",
                "",
            ),
        },
    ),
    *mutants(
        "kernels/sr_loss.py",
        f"{SR}::test_float32_no_worse_than_the_definition {SR}::test_how_many_samples_go_together_does_not_matter",
        sharp,
        {
            "the gradient of the square is the error": ("weighted.mul_(2)", "weighted.mul_(1)"),
            "parts of a batch have the guidance of the first": (
                "None if guidance is None else guidance.detach()[part]",
                "None if guidance is None else guidance.detach()[: part.stop - part.start]",
            ),
            "the weights of pixels are squared in the loss": (
                "torch.sum(error.mul_(weighted))",
                "torch.sum(weighted.square())",
            ),
        },
    ),
    *mutants(
        "kernels/sr_loss.py",
        f"{SR_TRITON}::test_floating_image_is_taken_as_normalised",
        sharp,
        {
            "a kernel's second convolution has the bias of the first": (
                "biases + which * following",
                "biases + 0 * following",
            ),
            "a kernel's transposes are not turned round": (
                "w.flip(2, 3).transpose(0, 1) for w",
                "w.transpose(0, 1) for w",
            ),
        },
    ),
    *mutants(
        "kernels/sr_triton.py",
        f"{SR_TRITON}::test_floating_image_is_taken_as_normalised",
        sharp,
        {
            "a kernel's first convolution has no ReLU": (
                "tl.where((z > 0) & in_image, z, 0.0)",
                "tl.where(in_image, z, 0.0)",
            ),
            "a kernel's gradient passes the ReLU everywhere": (
                "z = tl.where(passed, tl.dot(g, matrix, input_precision=PRECISION), 0.0)",
                "z = tl.dot(g, matrix, input_precision=PRECISION)",
            ),
            "a kernel's gradient lacks that of the residual": (
                "tl.dot(z, matrix, input_precision=PRECISION) + g.to(tl.float32)",
                "tl.dot(z, matrix, input_precision=PRECISION) + 0 * g.to(tl.float32)",
            ),
            "a kernel's nearer pixel gives two thirds": (
                "NEAR, FAR = tl.constexpr(0.75), tl.constexpr(0.25)",
                "NEAR, FAR = tl.constexpr(2 / 3), tl.constexpr(1 / 3)",
            ),
        },
    ),
    *mutants(
        "kernels/sr_triton.py",
        f"{SR_TRITON}::test_tiles_know_their_neighbours",
        tiled,
        {
            "a kernel's tiles count their neighbours' pixels": (
                "loss += tl.where(own[:, :, None], weighted * error, 0.0)",
                "loss += weighted * error",
            ),
            "a kernel leaves out tiles around the window": (
                "(2 * (left + T) + HALO_G > x) & (2 * left - HALO_G < x + CELLS)",
                "(2 * (left + T) > x) & (2 * left < x + CELLS)",
            ),
        },
    ),
    *mutants(
        "kernels/forward_grads.py",
        f"{FOLDER}/test_forward_grads.py",
        tokens,
        {"gradients do not know that of the loss": ("return grad * grad_loss", "return grad")},
    ),
    *mutants(
        "kernels/dispatch.py",
        f"{FOLDER}/test_dispatch.py",
        tokens,
        {
            "the number behind the last is taken": ("if low < 0 or high >= upper:", "if low < 0 or high > upper:"),
            "bfloat16 is added up as it is": ("HALVES = (torch.float16, torch.bfloat16)", "HALVES = (torch.float16,)"),
        },
    ),
    *mutants(
        "kernels/tuning.py",
        f"{FOLDER}/test_tuning.py",
        tokens,
        {
            "constants are the oldest chip's": ("older[-1] if older", "older[0] if older"),
            "constants are those of an older chip than the own": (
                "if _age(key) <= _age(name)]",
                "if _age(key) < _age(name)]",
            ),
        },
    ),
]
