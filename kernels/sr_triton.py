"""The Triton kernel of ``sr_loss``: super-resolution, its loss and all its gradients, one tile after another.

A 3 x 3 convolution over 2 x 2 pixels at once is a product for the tensor cores: a window of 4 x 4 pixels of 4 lanes
times a matrix of 64 x 16, of which the columns are a block, the 2 x 2 pixels of 4 lanes in the window's middle. Both
convolutions, their transposes, both weight gradients and the two directions of the bilinear resize have this form.
The fourth lane is one inside the image: it carries the biases as a row of the matrix, and their gradients too.
A program takes tiles of T x T low-resolution pixels in turn and goes through them in stages, each over a smaller area,
since a convolution needs a pixel around. What one stage leaves for the next lies in a scratch of the program's own,
139 KB in bfloat16: with two or three programs a multiprocessor 30 MB on an A100 and 55 MB on an H200, about what the
second-level cache holds. No tensor of the size of the image exists.

    stage      what                           pixels around the tile    from
    U          bilinear x 2 of the prediction            5              prediction
    A          relu(conv1(U))                            4              U
    G          2 W (y - t), y = conv2(A) + U             3              A, U, image, guidance
    Z          conv2'(G) where A > 0                     2              G, A
    d_weights  window(A)' G and window(U)' Z             0              A, G, U, Z
    H          conv1'(Z) + G                             1              Z, G         (overwrites A)
    d_low      transposed bilinear of H                  0              H

Outside the image U, A, G and Z are zero (the padding of the convolutions); H repeats its border, which is the adjoint
of the bilinear resize clamping its own.
"""

import triton
import triton.language as tl

from ecamp_fast.kernels.guidance import KIND_WINDOW, pixel_weight

LANES = tl.constexpr(4)  # numbers of a pixel in the scratch: up to three channels, and the one
BLOCK_SIDE, WINDOW_SIDE = tl.constexpr(2), tl.constexpr(4)  # pixels
PIXELS = tl.constexpr(BLOCK_SIDE * BLOCK_SIDE)  # of a block
BLOCK = tl.constexpr(PIXELS * LANES)
WINDOW = tl.constexpr(WINDOW_SIDE * WINDOW_SIDE * LANES)
MATRIX = tl.constexpr(WINDOW * BLOCK)
PARTIALS = tl.constexpr(2 * MATRIX + 1)  # of a program: gradients of both matrices, loss
AREAS = tl.constexpr(4)  # in the scratch of a program: U, A (and H), G, Z
HALOS = {"U": 5, "A": 4, "G": 3, "Z": 2, "d_weights": 0, "H": 1, "d_low": 0}  # pixels of each stage around the tile
HALO_U, HALO_A, HALO_G, HALO_Z, HALO_H = (tl.constexpr(HALOS[stage]) for stage in "UAGZH")
NEAR, FAR = tl.constexpr(0.75), tl.constexpr(0.25)  # shares of the two low-resolution pixels beside a pixel


@triton.constexpr_function
def _slots(WIDTH: int, LINE: int) -> int:
    """Blocks to go through for an area WIDTH blocks wide, with what ``_blocks`` leaves free behind its lines."""
    return WIDTH * (LINE if WIDTH <= LINE else WIDTH)


@triton.jit
def _blocks(first, WIDTH: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr):
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
def _window(row, column, AHEAD: tl.constexpr, SIDE: tl.constexpr):
    """Offsets (BLOCKS, WINDOW) of the window around a block, in an area that begins AHEAD pixels before the block's."""
    ROW: tl.constexpr = WINDOW_SIDE * LANES
    k = tl.arange(0, WINDOW)
    first = ((2 * row + (AHEAD - 1)) * SIDE + (2 * column + (AHEAD - 1))) * LANES
    return first[:, None] + ((k // ROW) * (SIDE * LANES) + k % ROW)[None, :]


@triton.jit
def _block(row, column, AHEAD: tl.constexpr, SIDE: tl.constexpr):
    """Offsets (BLOCKS, BLOCK) of a block, in an area that begins AHEAD pixels before the block's."""
    ROW: tl.constexpr = BLOCK_SIDE * LANES
    n = tl.arange(0, BLOCK)
    first = ((2 * row + AHEAD) * SIDE + (2 * column + AHEAD)) * LANES
    return first[:, None] + ((n // ROW) * (SIDE * LANES) + n % ROW)[None, :]


@triton.jit
def _in_image(y, x, S: tl.constexpr):
    """(BLOCKS, BLOCK): whether the pixels of the blocks from (y, x) on lie in the image."""
    n = tl.arange(0, BLOCK)
    y = y[:, None] + (n // (BLOCK_SIDE * LANES))[None, :]
    x = x[:, None] + (n // LANES % BLOCK_SIDE)[None, :]
    return (y >= 0) & (y < S) & (x >= 0) & (x < S)


@triton.jit
def _bilinear():
    """(BLOCK, BLOCK): 2 x 2 low-resolution pixels to the 2 x 2 pixels between their centres."""
    k, n = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    down = tl.where(k // (BLOCK_SIDE * LANES) == n // (BLOCK_SIDE * LANES), NEAR, FAR)
    along = tl.where(k // LANES % BLOCK_SIDE == n // LANES % BLOCK_SIDE, NEAR, FAR)
    return tl.where(k % LANES == n % LANES, down * along, 0.0)


@triton.jit
def _bilinear_transposed():
    """(WINDOW, BLOCK): 4 x 4 pixels to the low-resolution pixel in their middle; columns beyond LANES are zero."""
    k, n = tl.arange(0, WINDOW)[:, None], tl.arange(0, BLOCK)[None, :]
    down, along = k // (WINDOW_SIDE * LANES), k // LANES % WINDOW_SIDE
    down = tl.where((down == 1) | (down == 2), NEAR, FAR)
    along = tl.where((along == 1) | (along == 2), NEAR, FAR)
    return tl.where(k % LANES == n, down * along, 0.0)


@triton.jit
def _matrix(packed_ptr, WHICH: tl.constexpr):
    """(WINDOW, BLOCK): conv1, conv2, the transpose of conv2, that of conv1."""
    k, n = tl.arange(0, WINDOW)[:, None], tl.arange(0, BLOCK)[None, :]
    return tl.load(packed_ptr + WHICH * MATRIX + k * BLOCK + n)


@triton.jit
def _stage_u(
    low_ptr, u_ptr,  # data
    top, left,  # the tile's first low-resolution pixel
    s_c, s_y, s_x,  # strides of low
    S: tl.constexpr, C: tl.constexpr,  # shapes
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Bilinear x 2 of the prediction, and the one."""
    LOW: tl.constexpr = S // 2
    BEFORE: tl.constexpr = (HALO_U + 1) // 2  # low-resolution pixels of the area before the tile
    ONE: tl.constexpr = LANES - 1
    matrix = _bilinear().to(low_ptr.dtype.element_ty)
    k = tl.arange(0, BLOCK)
    for first in range(0, _slots(T + HALO_U, LINE), BLOCKS):
        row, column, live = _blocks(first, T + HALO_U, LINE, BLOCKS)
        y = (top - BEFORE + row)[:, None] + (k // (BLOCK_SIDE * LANES))[None, :]
        x = (left - BEFORE + column)[:, None] + (k // LANES % BLOCK_SIDE)[None, :]
        y, x = tl.minimum(tl.maximum(y, 0), LOW - 1), tl.minimum(tl.maximum(x, 0), LOW - 1)
        c = (k % LANES)[None, :]
        pixels = tl.load(low_ptr + y * s_y + x * s_x + c * s_c, mask=live & (c < C), other=0.0)
        pixels = tl.where(c == ONE, 1.0, pixels).to(low_ptr.dtype.element_ty)
        up = tl.dot(pixels, matrix, input_precision=PRECISION)
        up = tl.where(_in_image(2 * (top + row) - HALO_U, 2 * (left + column) - HALO_U, S), up, 0.0)
        tl.store(u_ptr + _block(row, column, 0, SIDE), up.to(u_ptr.dtype.element_ty), mask=live)


@triton.jit
def _stage_a(
    u_ptr, a_ptr, packed_ptr,  # data
    top, left,  # as in _stage_u
    S: tl.constexpr,
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """relu(conv1(U))."""
    matrix = _matrix(packed_ptr, 0).to(u_ptr.dtype.element_ty)
    for first in range(0, _slots(T + HALO_A, LINE), BLOCKS):
        row, column, live = _blocks(first, T + HALO_A, LINE, BLOCKS)
        up = tl.load(u_ptr + _window(row, column, HALO_U - HALO_A, SIDE), mask=live, other=0.0)
        z = tl.dot(up, matrix, input_precision=PRECISION)
        in_image = _in_image(2 * (top + row) - HALO_A, 2 * (left + column) - HALO_A, S)
        z = tl.where((z > 0) & in_image, z, 0.0)
        tl.store(a_ptr + _block(row, column, 0, SIDE), z.to(a_ptr.dtype.element_ty), mask=live)


@triton.jit
def _stage_g(
    u_ptr, a_ptr, g_ptr, packed_ptr, image_ptr, table_ptr,  # data
    sample, top, left,  # the sample, and as in _stage_u
    factor, shift, scale,  # pixels to numbers (``affine``), and of the guidance
    S: tl.constexpr, C: tl.constexpr,  # shapes
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr,
    KIND: tl.constexpr, CELLS: tl.constexpr, RELU: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """2 W e, the gradient to y. Returns (BLOCKS, PIXELS, LANES): W e^2 of the tile's own pixels, over its blocks."""
    AHEAD: tl.constexpr = HALO_U - HALO_G
    matrix = _matrix(packed_ptr, 1).to(a_ptr.dtype.element_ty)
    pixel, lane = tl.arange(0, PIXELS), tl.arange(0, LANES)[None, None, :]
    pixel_y, pixel_x = pixel // BLOCK_SIDE, pixel % BLOCK_SIDE
    offset = (pixel_y * SIDE + pixel_x) * LANES
    loss = tl.zeros((BLOCKS, PIXELS, LANES), tl.float32)
    for first in range(0, _slots(T + HALO_G, LINE), BLOCKS):
        row, column, live = _blocks(first, T + HALO_G, LINE, BLOCKS)
        middle = tl.load(a_ptr + _window(row, column, HALO_A - HALO_G, SIDE), mask=live, other=0.0)
        z = tl.reshape(tl.dot(middle, matrix, input_precision=PRECISION), (BLOCKS, PIXELS, LANES))
        y = (2 * (top + row) - HALO_G)[:, None] + pixel_y[None, :]
        x = (2 * (left + column) - HALO_G)[:, None] + pixel_x[None, :]
        weight = pixel_weight(table_ptr, sample, y, x, scale, S, KIND, CELLS)
        in_image = (y >= 0) & (y < S) & (x >= 0) & (x < S) & live
        target = tl.load(image_ptr + y * S + x, mask=in_image, other=0).to(tl.float32) * factor + shift
        own = (y >= 2 * top) & (y < 2 * (top + T)) & (x >= 2 * left) & (x < 2 * (left + T)) & live
        place = (((row * SIDE + column) * 2)[:, None] * LANES + offset[None, :])[:, :, None] + lane
        up = tl.load(u_ptr + AHEAD * LANES * (SIDE + 1) + place, mask=live[:, :, None], other=0.0)
        z += up.to(tl.float32)
        out = tl.where(z > 0, z, 0.0) if RELU else z
        error = tl.where(lane < C, out - target[:, :, None], 0.0)
        weighted = weight[:, :, None] * error
        loss += tl.where(own[:, :, None], weighted * error, 0.0)
        grad = tl.where(z > 0, 2 * weighted, 0.0) if RELU else 2 * weighted
        tl.store(g_ptr + place, grad.to(g_ptr.dtype.element_ty), mask=live[:, :, None])
    return loss


@triton.jit
def _stage_z(
    a_ptr, g_ptr, z_ptr, packed_ptr,  # data
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """conv2'(G) where A > 0, the gradient to conv1(U)."""
    matrix = _matrix(packed_ptr, 2).to(a_ptr.dtype.element_ty)
    for first in range(0, _slots(T + HALO_Z, LINE), BLOCKS):
        row, column, live = _blocks(first, T + HALO_Z, LINE, BLOCKS)
        g = tl.load(g_ptr + _window(row, column, HALO_G - HALO_Z, SIDE), mask=live, other=0.0)
        passed = tl.load(a_ptr + _block(row, column, HALO_A - HALO_Z, SIDE), mask=live, other=0.0) > 0
        z = tl.where(passed, tl.dot(g, matrix, input_precision=PRECISION), 0.0)
        tl.store(z_ptr + _block(row, column, 0, SIDE), z.to(z_ptr.dtype.element_ty), mask=live)


@triton.jit
def _stage_d_weights(
    u_ptr, a_ptr, g_ptr, z_ptr,  # data
    d_weight1, d_weight2,  # sums so far
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Adds the tile's own share to the gradients of both matrices (WINDOW, BLOCK)."""
    for first in range(0, _slots(T, LINE), BLOCKS):
        row, column, live = _blocks(first, T, LINE, BLOCKS)
        g = tl.load(g_ptr + _block(row, column, HALO_G, SIDE), mask=live, other=0.0)
        middle = tl.load(a_ptr + _window(row, column, HALO_A, SIDE), mask=live, other=0.0)
        d_weight2 += tl.dot(tl.trans(middle), g, input_precision=PRECISION)
        z = tl.load(z_ptr + _block(row, column, HALO_Z, SIDE), mask=live, other=0.0)
        up = tl.load(u_ptr + _window(row, column, HALO_U, SIDE), mask=live, other=0.0)
        d_weight1 += tl.dot(tl.trans(up), z, input_precision=PRECISION)
    return d_weight1, d_weight2


@triton.jit
def _stage_h(
    g_ptr, z_ptr, h_ptr, packed_ptr,  # data
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """conv1'(Z) + G, the gradient to U."""
    matrix = _matrix(packed_ptr, 3).to(z_ptr.dtype.element_ty)
    for first in range(0, _slots(T + HALO_H, LINE), BLOCKS):
        row, column, live = _blocks(first, T + HALO_H, LINE, BLOCKS)
        z = tl.load(z_ptr + _window(row, column, HALO_Z - HALO_H, SIDE), mask=live, other=0.0)
        g = tl.load(g_ptr + _block(row, column, HALO_G - HALO_H, SIDE), mask=live, other=0.0)
        h = tl.dot(z, matrix, input_precision=PRECISION) + g.to(tl.float32)
        tl.store(h_ptr + _block(row, column, 0, SIDE), h.to(h_ptr.dtype.element_ty), mask=live)


@triton.jit
def _stage_d_low(
    h_ptr, d_low_ptr,  # data
    top, left,  # as in _stage_u
    s_c, s_y, s_x,  # strides of d_low
    S: tl.constexpr, C: tl.constexpr,  # shapes
    T: tl.constexpr, LINE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Transposed bilinear of H, the gradient to the prediction."""
    LOW: tl.constexpr = S // 2
    matrix = _bilinear_transposed().to(h_ptr.dtype.element_ty)
    k, n = tl.arange(0, WINDOW), tl.arange(0, BLOCK)[None, :]
    for first in range(0, _slots(T, LINE), BLOCKS):
        row, column, live = _blocks(first, T, LINE, BLOCKS)
        y = (2 * (top + row) - HALO_H)[:, None] + (k // (WINDOW_SIDE * LANES))[None, :]
        x = (2 * (left + column) - HALO_H)[:, None] + (k // LANES % WINDOW_SIDE)[None, :]
        y, x = tl.minimum(tl.maximum(y, 0), S - 1), tl.minimum(tl.maximum(x, 0), S - 1)
        place = ((y - (2 * top - HALO_H)) * SIDE + x - (2 * left - HALO_H)) * LANES + (k % LANES)[None, :]
        valid = live & ((top + row < LOW) & (left + column < LOW))[:, None]
        h = tl.load(h_ptr + place, mask=valid, other=0.0)
        d_low = tl.dot(h, matrix, input_precision=PRECISION).to(d_low_ptr.dtype.element_ty)
        to = d_low_ptr + ((top + row) * s_y + (left + column) * s_x)[:, None] + n * s_c
        tl.store(to, d_low, mask=valid & (n < C))


@triton.jit
def _touches_window(table_ptr, sample, top, left, T: tl.constexpr, CELLS: tl.constexpr):
    """Whether the tile has loss or gradient: it lies not more than HALO_G pixels off the window."""
    y, x = tl.load(table_ptr + sample * 2), tl.load(table_ptr + sample * 2 + 1)
    touches = (2 * (top + T) + HALO_G > y) & (2 * top - HALO_G < y + CELLS)
    return touches & (2 * (left + T) + HALO_G > x) & (2 * left - HALO_G < x + CELLS)


@triton.jit
def sr_tiles(
    low_ptr, image_ptr, table_ptr, packed_ptr,  # read: (B, C, S/2, S/2), (B, S, S), of the guidance, four matrices
    scratch_ptr,  # (programs, AREAS, SIDE, SIDE, LANES)
    d_low_ptr, partial_ptr,  # written: as low, and (programs, PARTIALS) float32
    s_b, s_c, s_y, s_x, d_b, d_c, d_y, d_x,  # strides of low and of d_low
    tiles, factor, shift, scale,  # tiles of all samples; pixels to numbers (``affine``); of the guidance
    S: tl.constexpr, C: tl.constexpr,  # shapes
    TILE: tl.constexpr, BLOCKS: tl.constexpr, SIDE: tl.constexpr,  # a tile, blocks at once, a scratch area's side
    KIND: tl.constexpr, CELLS: tl.constexpr, RELU: tl.constexpr, GRADIENT: tl.constexpr,  # what is computed
    LINE: tl.constexpr, PRECISION: tl.constexpr,  # of ``_blocks``, and of the products
):  # fmt: skip
    """Tiles program, program + programs, ..: their loss, d_low, and sums for the weights."""
    program = tl.program_id(0)
    AREA: tl.constexpr = SIDE * SIDE * LANES
    ACROSS: tl.constexpr = (S // 2 + TILE - 1) // TILE
    u_ptr = scratch_ptr + program.to(tl.int64) * (AREAS * AREA)
    a_ptr, g_ptr, z_ptr = u_ptr + AREA, u_ptr + 2 * AREA, u_ptr + 3 * AREA
    loss = tl.zeros((BLOCKS, PIXELS, LANES), tl.float32)
    d_weight1, d_weight2 = tl.zeros((WINDOW, BLOCK), tl.float32), tl.zeros((WINDOW, BLOCK), tl.float32)
    for turn in range(0, tl.cdiv(tiles - program, tl.num_programs(0))):
        tile = program + turn * tl.num_programs(0)
        sample = (tile // (ACROSS * ACROSS)).to(tl.int64)
        top, left = tile // ACROSS % ACROSS * TILE, tile % ACROSS * TILE
        counts = True
        if KIND == KIND_WINDOW:
            counts = _touches_window(table_ptr, sample, top, left, TILE, CELLS)
        if counts:
            _stage_u(low_ptr + sample * s_b, u_ptr, top, left, s_c, s_y, s_x, S, C, TILE, LINE, BLOCKS, SIDE, PRECISION)
            tl.debug_barrier()
            _stage_a(u_ptr, a_ptr, packed_ptr, top, left, S, TILE, LINE, BLOCKS, SIDE, PRECISION)
            tl.debug_barrier()
            loss += _stage_g(
                u_ptr, a_ptr, g_ptr, packed_ptr, image_ptr + sample * S * S, table_ptr, sample, top, left,
                factor, shift, scale, S, C, TILE, LINE, BLOCKS, SIDE, KIND, CELLS, RELU, PRECISION,
            )  # fmt: skip
            tl.debug_barrier()
            if GRADIENT:
                _stage_z(a_ptr, g_ptr, z_ptr, packed_ptr, TILE, LINE, BLOCKS, SIDE, PRECISION)
                tl.debug_barrier()
                d_weight1, d_weight2 = _stage_d_weights(
                    u_ptr, a_ptr, g_ptr, z_ptr, d_weight1, d_weight2, TILE, LINE, BLOCKS, SIDE, PRECISION
                )
                tl.debug_barrier()
                _stage_h(g_ptr, z_ptr, a_ptr, packed_ptr, TILE, LINE, BLOCKS, SIDE, PRECISION)
                tl.debug_barrier()
                _stage_d_low(
                    a_ptr, d_low_ptr + sample * d_b, top, left, d_c, d_y, d_x,
                    S, C, TILE, LINE, BLOCKS, SIDE, PRECISION,
                )  # fmt: skip
            tl.debug_barrier()
    partial_ptr += program.to(tl.int64) * PARTIALS
    tl.store(partial_ptr + 2 * MATRIX, tl.sum(tl.reshape(loss, (BLOCKS * BLOCK,)), axis=0))
    if GRADIENT:
        k, n = tl.arange(0, WINDOW)[:, None], tl.arange(0, BLOCK)[None, :]
        tl.store(partial_ptr + k * BLOCK + n, d_weight1)
        tl.store(partial_ptr + MATRIX + k * BLOCK + n, d_weight2)
