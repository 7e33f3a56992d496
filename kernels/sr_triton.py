"""The Triton kernel of ``sr_loss``: super-resolution, its loss and all its gradients, one tile after another.

A 3 x 3 convolution over 2 x 2 pixels at once is a product for the tensor cores: a window of 4 x 4 pixels of 4 channels
times a matrix of 64 x 16, of which the columns are the 2 x 2 pixels of 4 channels. Both
convolutions, their transposes, both weight gradients and the two directions of the bilinear resize have this form.
The fourth channel is one inside the image: it carries the biases as a row of the matrix, and their gradients too.
A program takes tiles of T x T low-resolution pixels in turn and goes through them in stages, each over a smaller area,
since a convolution needs a pixel around. What one stage leaves for the next lies in a scratch of the program's own,
139 KB in bfloat16: with two or three programs a multiprocessor 30 MB on an A100 and 55 MB on an H200, about what the
second-level cache holds. No tensor of the size of the image exists.

    stage    what                           pixels around the tile    from
    U        bilinear x 2 of the prediction            5              prediction
    A        relu(conv1(U))                            4              U
    G        2 W (y - t), y = conv2(A) + U             3              A, U, image, guide
    Z        conv2'(G) where A > 0                     2              G, A
    weights  window(A)' G and window(U)' Z             0              A, G, U, Z
    H        conv1'(Z) + G                             1              Z, G         (overwrites A)
    dx       transposed bilinear of H                  0              H

Outside the image U, A, G and Z are zero (the padding of the convolutions); H repeats its border, which is the adjoint
of the bilinear resize clamping its own.
"""

import triton
import triton.language as tl

from ecamp_fast.kernels.guidance import pixel_weight

LANES = 4  # channels of a pixel in the scratch: up to three of the image, and the one
WINDOW = 4 * 4 * LANES
BLOCK = 2 * 2 * LANES
HALO = 5  # pixels of U around a tile
MATRIX = WINDOW * BLOCK
PARTIALS = 2 * MATRIX + 1  # of a program: gradients of both matrices, loss


@triton.jit
def _window(row, column, SIDE: tl.constexpr):
    """Offsets (BLOCKS, 64) of the 4 x 4 pixels from (row, column) on."""
    k = tl.arange(0, 64)
    return ((row * SIDE + column) * 4)[:, None] + ((k // 16) * (SIDE * 4) + k % 16)[None, :]


@triton.jit
def _block(row, column, SIDE: tl.constexpr):
    """Offsets (BLOCKS, 16) of the 2 x 2 pixels from (row, column) on."""
    n = tl.arange(0, 16)
    return ((row * SIDE + column) * 4)[:, None] + ((n // 8) * (SIDE * 4) + n % 8)[None, :]


@triton.jit
def _places(first, WIDTH: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr):
    """(row, column, live) of the blocks ``first``.. of an area WIDTH blocks wide.

    Numbered in lines of LINE where one is long enough: a power of two, so that nothing is divided.
    """
    block = first + tl.arange(0, BLOCKS)
    if WIDTH <= LINE:
        row, column = block // LINE, block % LINE
        live = (row < WIDTH) & (column < WIDTH)
    else:
        row, column = block // WIDTH, block % WIDTH
        live = row < WIDTH
    return row, column, live[:, None]


@triton.jit
def _inside(y, x, S: tl.constexpr):
    """(BLOCKS, 16): whether the pixels of the 2 x 2 from (y, x) on lie in the image."""
    n = tl.arange(0, 16)
    y, x = y[:, None] + (n // 8)[None, :], x[:, None] + (n // 4 % 2)[None, :]
    return (y >= 0) & (y < S) & (x >= 0) & (x < S)


@triton.jit
def _bilinear():
    """(16, 16): 2 x 2 low-resolution pixels to the 2 x 2 pixels between their centres."""
    k, n = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    down = tl.where(k // 8 == n // 8, 0.75, 0.25)
    along = tl.where(k // 4 % 2 == n // 4 % 2, 0.75, 0.25)
    return tl.where(k % 4 == n % 4, down * along, 0.0)


@triton.jit
def _bilinear_transposed():
    """(64, 16): 4 x 4 pixels to the low-resolution pixel in their middle; columns beyond 4 are zero."""
    k, n = tl.arange(0, 64)[:, None], tl.arange(0, 16)[None, :]
    down, along = k // 16, k // 4 % 4
    down = tl.where((down == 1) | (down == 2), 0.75, 0.25)
    along = tl.where((along == 1) | (along == 2), 0.75, 0.25)
    return tl.where(k % 4 == n, down * along, 0.0)


@triton.jit
def _matrix(packed_ptr, WHICH: tl.constexpr):
    k, n = tl.arange(0, 64)[:, None], tl.arange(0, 16)[None, :]
    return tl.load(packed_ptr + WHICH * 1024 + k * 16 + n)


@triton.jit
def _upsample(
    low_ptr, u_ptr, top, left, s_c, s_y, s_x, S: tl.constexpr, C: tl.constexpr, T: tl.constexpr, LINE: tl.constexpr,
    BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage U. (top, left): the tile's first low-resolution pixel."""
    LOW: tl.constexpr = S // 2
    matrix = _bilinear().to(low_ptr.dtype.element_ty)
    k = tl.arange(0, 16)
    for first in range(0, (T + 5) * (LINE if T + 5 <= LINE else T + 5), BLOCKS):
        row, column, live = _places(first, T + 5, LINE, BLOCKS)
        y = (top - 3 + row)[:, None] + (k // 8)[None, :]
        x = (left - 3 + column)[:, None] + (k // 4 % 2)[None, :]
        y, x = tl.minimum(tl.maximum(y, 0), LOW - 1), tl.minimum(tl.maximum(x, 0), LOW - 1)
        c = (k % 4)[None, :]
        pixels = tl.load(low_ptr + y * s_y + x * s_x + c * s_c, mask=live & (c < C), other=0.0)
        pixels = tl.where(c == 3, 1.0, pixels).to(low_ptr.dtype.element_ty)
        up = tl.dot(pixels, matrix, input_precision=PRECISION)
        up = tl.where(_inside(2 * (top + row) - 5, 2 * (left + column) - 5, S), up, 0.0)
        tl.store(u_ptr + _block(2 * row, 2 * column, SIDE), up.to(u_ptr.dtype.element_ty), mask=live)


@triton.jit
def _first(
    u_ptr, a_ptr, packed_ptr, top, left, S: tl.constexpr, T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr,
    SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage A."""
    matrix = _matrix(packed_ptr, 0).to(u_ptr.dtype.element_ty)
    for first in range(0, (T + 4) * (LINE if T + 4 <= LINE else T + 4), BLOCKS):
        row, column, live = _places(first, T + 4, LINE, BLOCKS)
        up = tl.load(u_ptr + _window(2 * row, 2 * column, SIDE), mask=live, other=0.0)
        z = tl.dot(up, matrix, input_precision=PRECISION)
        z = tl.where((z > 0) & _inside(2 * (top + row) - 4, 2 * (left + column) - 4, S), z, 0.0)
        tl.store(a_ptr + _block(2 * row, 2 * column, SIDE), z.to(a_ptr.dtype.element_ty), mask=live)


@triton.jit
def _error(
    u_ptr, a_ptr, g_ptr, packed_ptr, image_ptr, table_ptr, sample, top, left, factor, shift, scale, S: tl.constexpr,
    C: tl.constexpr, T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr,
    KIND: tl.constexpr, CELLS: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage G. Returns (BLOCKS, 4, 4): W e^2 of the tile's own pixels, summed over its blocks."""
    matrix = _matrix(packed_ptr, 1).to(a_ptr.dtype.element_ty)
    phase, lane = tl.arange(0, 4), tl.arange(0, 4)[None, None, :]
    pixel = ((phase // 2) * SIDE + phase % 2) * 4
    loss = tl.zeros((BLOCKS, 4, 4), tl.float32)
    for first in range(0, (T + 3) * (LINE if T + 3 <= LINE else T + 3), BLOCKS):
        row, column, live = _places(first, T + 3, LINE, BLOCKS)
        middle = tl.load(a_ptr + _window(2 * row, 2 * column, SIDE), mask=live, other=0.0)
        z = tl.reshape(tl.dot(middle, matrix, input_precision=PRECISION), (BLOCKS, 4, 4))
        y = (2 * (top + row) - 3)[:, None] + (phase // 2)[None, :]
        x = (2 * (left + column) - 3)[:, None] + (phase % 2)[None, :]
        weight = pixel_weight(table_ptr, sample, y, x, scale, S, KIND, CELLS)
        inside = (y >= 0) & (y < S) & (x >= 0) & (x < S) & live
        target = tl.load(image_ptr + y * S + x, mask=inside, other=0).to(tl.float32) * factor + shift
        own = (y >= 2 * top) & (y < 2 * (top + T)) & (x >= 2 * left) & (x < 2 * (left + T)) & live
        place = (((row * SIDE + column) * 2)[:, None] * 4 + pixel[None, :])[:, :, None] + lane
        z += tl.load(u_ptr + 8 * (SIDE + 1) + place, mask=live[:, :, None], other=0.0).to(tl.float32)
        out = tl.where(z > 0, z, 0.0) if RELU else z
        error = tl.where(lane < C, out - target[:, :, None], 0.0)
        scaled = weight[:, :, None] * error
        loss += tl.where(own[:, :, None], scaled * error, 0.0)
        slope = tl.where(z > 0, 2 * scaled, 0.0) if RELU else 2 * scaled
        tl.store(g_ptr + place, slope.to(g_ptr.dtype.element_ty), mask=live[:, :, None])
    return loss


@triton.jit
def _middle_slope(
    a_ptr, g_ptr, z_ptr, packed_ptr, T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage Z."""
    matrix = _matrix(packed_ptr, 2).to(a_ptr.dtype.element_ty)
    for first in range(0, (T + 2) * (LINE if T + 2 <= LINE else T + 2), BLOCKS):
        row, column, live = _places(first, T + 2, LINE, BLOCKS)
        slope = tl.load(g_ptr + _window(2 * row, 2 * column, SIDE), mask=live, other=0.0)
        passed = tl.load(a_ptr + _block(2 * row + 2, 2 * column + 2, SIDE), mask=live, other=0.0) > 0
        z = tl.where(passed, tl.dot(slope, matrix, input_precision=PRECISION), 0.0)
        tl.store(z_ptr + _block(2 * row, 2 * column, SIDE), z.to(z_ptr.dtype.element_ty), mask=live)


@triton.jit
def _weight_slopes(
    u_ptr, a_ptr, g_ptr, z_ptr, first_slope, second_slope, T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr,
    SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds the tile's own share to the gradients of both matrices (64, 16)."""
    for first in range(0, T * (LINE if T <= LINE else T), BLOCKS):
        row, column, live = _places(first, T, LINE, BLOCKS)
        g = tl.load(g_ptr + _block(2 * row + 3, 2 * column + 3, SIDE), mask=live, other=0.0)
        middle = tl.load(a_ptr + _window(2 * row + 3, 2 * column + 3, SIDE), mask=live, other=0.0)
        second_slope += tl.dot(tl.trans(middle), g, input_precision=PRECISION)
        z = tl.load(z_ptr + _block(2 * row + 2, 2 * column + 2, SIDE), mask=live, other=0.0)
        up = tl.load(u_ptr + _window(2 * row + 4, 2 * column + 4, SIDE), mask=live, other=0.0)
        first_slope += tl.dot(tl.trans(up), z, input_precision=PRECISION)
    return first_slope, second_slope


@triton.jit
def _upsampled_slope(
    g_ptr, z_ptr, h_ptr, packed_ptr, T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage H."""
    matrix = _matrix(packed_ptr, 3).to(z_ptr.dtype.element_ty)
    for first in range(0, (T + 1) * (LINE if T + 1 <= LINE else T + 1), BLOCKS):
        row, column, live = _places(first, T + 1, LINE, BLOCKS)
        z = tl.load(z_ptr + _window(2 * row, 2 * column, SIDE), mask=live, other=0.0)
        g = tl.load(g_ptr + _block(2 * row + 2, 2 * column + 2, SIDE), mask=live, other=0.0)
        h = tl.dot(z, matrix, input_precision=PRECISION) + g.to(tl.float32)
        tl.store(h_ptr + _block(2 * row, 2 * column, SIDE), h.to(h_ptr.dtype.element_ty), mask=live)


@triton.jit
def _low_slope(
    h_ptr, slope_ptr, top, left, s_c, s_y, s_x, S: tl.constexpr, C: tl.constexpr, T: tl.constexpr,
    LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Stage dx."""
    LOW: tl.constexpr = S // 2
    matrix = _bilinear_transposed().to(h_ptr.dtype.element_ty)
    k, n = tl.arange(0, 64), tl.arange(0, 16)[None, :]
    for first in range(0, T * (LINE if T <= LINE else T), BLOCKS):
        row, column, live = _places(first, T, LINE, BLOCKS)
        y = (2 * (top + row) - 1)[:, None] + (k // 16)[None, :]
        x = (2 * (left + column) - 1)[:, None] + (k // 4 % 4)[None, :]
        y, x = tl.minimum(tl.maximum(y, 0), S - 1), tl.minimum(tl.maximum(x, 0), S - 1)
        place = ((y - (2 * top - 1)) * SIDE + x - (2 * left - 1)) * 4 + (k % 4)[None, :]
        here = live & ((top + row < LOW) & (left + column < LOW))[:, None]
        h = tl.load(h_ptr + place, mask=here, other=0.0)
        slope = tl.dot(h, matrix, input_precision=PRECISION).to(slope_ptr.dtype.element_ty)
        to = slope_ptr + ((top + row) * s_y + (left + column) * s_x)[:, None] + n * s_c
        tl.store(to, slope, mask=here & (n < C))


@triton.jit
def sr_tiles(
    low_ptr, image_ptr, table_ptr, packed_ptr, scratch_ptr, slope_ptr, partial_ptr, s_b, s_c, s_y, s_x, d_b, d_c,
    d_y, d_x, tiles, factor, shift, scale, S: tl.constexpr, C: tl.constexpr, TILE: tl.constexpr,
    BLOCKS: tl.constexpr, SIDE: tl.constexpr, KIND: tl.constexpr, CELLS: tl.constexpr, RELU: tl.constexpr,
    GRADIENT: tl.constexpr, LINE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Tiles program, program + programs, ..: their loss, d low, and sums for the weights.

    low (B, C, S/2, S/2) with strides s_, image (B, S, S), table and scale: the guide, packed: four matrices,
    scratch (programs, 4, SIDE, SIDE, 4), slope: d low with strides d_, partial (programs, PARTIALS) float32.
    """
    program = tl.program_id(0)
    AREA: tl.constexpr = SIDE * SIDE * 4
    ACROSS: tl.constexpr = (S // 2 + TILE - 1) // TILE
    u_ptr = scratch_ptr + program.to(tl.int64) * (4 * AREA)
    a_ptr, g_ptr, z_ptr = u_ptr + AREA, u_ptr + 2 * AREA, u_ptr + 3 * AREA
    loss = tl.zeros((BLOCKS, 4, 4), tl.float32)
    first_slope, second_slope = tl.zeros((64, 16), tl.float32), tl.zeros((64, 16), tl.float32)
    for turn in range(0, tl.cdiv(tiles - program, tl.num_programs(0))):
        tile = program + turn * tl.num_programs(0)
        sample = (tile // (ACROSS * ACROSS)).to(tl.int64)
        top, left = tile // ACROSS % ACROSS * TILE, tile % ACROSS * TILE
        counts = True
        if KIND == 2:  # the window: a tile more than three pixels off it has neither loss nor gradient
            y, x = tl.load(table_ptr + sample * 2), tl.load(table_ptr + sample * 2 + 1)
            counts = (2 * (top + TILE) + 3 > y) & (2 * top - 3 < y + CELLS)
            counts = counts & (2 * (left + TILE) + 3 > x) & (2 * left - 3 < x + CELLS)
        if counts:
            _upsample(
                low_ptr + sample * s_b, u_ptr, top, left, s_c, s_y, s_x, S, C, TILE, LINE, BLOCKS, SIDE, PRECISION
            )
            tl.debug_barrier()
            _first(u_ptr, a_ptr, packed_ptr, top, left, S, TILE, LINE, BLOCKS, SIDE, PRECISION)
            tl.debug_barrier()
            loss += _error(
                u_ptr, a_ptr, g_ptr, packed_ptr, image_ptr + sample * S * S, table_ptr, sample, top, left,
                factor, shift, scale, S, C, TILE, LINE, BLOCKS, SIDE, KIND, CELLS, RELU, PRECISION,
            )  # fmt: skip
            tl.debug_barrier()
            if GRADIENT:
                _middle_slope(a_ptr, g_ptr, z_ptr, packed_ptr, TILE, LINE, BLOCKS, SIDE, PRECISION)
                tl.debug_barrier()
                first_slope, second_slope = _weight_slopes(
                    u_ptr, a_ptr, g_ptr, z_ptr, first_slope, second_slope, TILE, LINE, BLOCKS, SIDE, PRECISION
                )
                tl.debug_barrier()
                _upsampled_slope(g_ptr, z_ptr, a_ptr, packed_ptr, TILE, LINE, BLOCKS, SIDE, PRECISION)
                tl.debug_barrier()
                _low_slope(a_ptr, slope_ptr + sample * d_b, top, left, d_c, d_y, d_x, S, C, TILE, LINE, BLOCKS, SIDE,
                           PRECISION)  # fmt: skip
            tl.debug_barrier()
    partial_ptr += program.to(tl.int64) * 2049
    tl.store(partial_ptr + 2048, tl.sum(tl.reshape(loss, (BLOCKS * 16,)), axis=0))
    if GRADIENT:
        k, n = tl.arange(0, 64)[:, None], tl.arange(0, 16)[None, :]
        tl.store(partial_ptr + k * 16 + n, first_slope)
        tl.store(partial_ptr + 1024 + k * 16 + n, second_slope)
