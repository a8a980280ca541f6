/* Products of pairs by AMX: tiles of up to 16 rows and 16 columns of the result, a depth of 32 at a time. Included by pairs.h.
 *
 * The kernel must allow a process to use the tiles; where it refuses, pairs_product does the work. The shapes of the tiles are set by
 * each thread when they change, and given back at the end of a run (bf16_release), so that nobody else finds tiles in use. */
#ifndef CELLSEARCH_TILES_H
#define CELLSEARCH_TILES_H

#include <sys/syscall.h>
#include <unistd.h>

#define ARCH_REQ_XCOMP_PERM 0x1023
#define XTILEDATA 18

/* 1: allowed, -1: refused, 0: not asked yet. Threads that ask at the same time get the same answer. */
static int tiles_allowed(void) {
    static int known;
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!answer) {
        answer = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 ? 1 : -1;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer > 0;
}

static const char *bf16_path(void) { return tiles_allowed() ? "amx" : "avx512_bf16"; }

/* Tiles 0 to 3 are sums. Two by two: tiles 4 and 5 are rows, 6 and 7 columns. One by four: tile 4 is rows, 5 to 7 are columns. */
static _Thread_local int tile_heights; /* 256 upper + lower as they are set; 0: they are not */

static void tile_shapes(int upper, int lower) {
    if (tile_heights == 256 * upper + lower) return;
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.bytes[i] = 64;
        const int columns = i >= (lower ? 6 : 5), below = lower && (i == 2 || i == 3 || i == 5);
        shape.rows[i] = (uint8_t)(columns ? 16 : below ? lower : upper);
    }
    __asm__ volatile("" ::: "memory");
    _tile_loadconfig(&shape);
    tile_heights = 256 * upper + lower;
}

static void bf16_release(void) {
    if (tile_heights) _tile_release();
    tile_heights = 0;
}

/* The compiler does not know what tile instructions read and write. */
#define TILES_MEET_MEMORY(place) __asm__ volatile("" ::"r"(place) : "memory")

#define BEGIN_TILE(tile, place, column)                                  \
    do {                                                                 \
        if (start == START_ZERO) _tile_zero(tile);                       \
        else if (start == START_BIAS) _tile_loadd(tile, bias + column, 0); \
        else _tile_loadd(tile, (place) + column, row);                   \
    } while (0)

/* Up to 32 rows of a panel, of which ``columns`` > 0 are wanted. */
static void tiles_two_by_two(int upper, int64_t steps, const float *A, int64_t lead, const float *B, int64_t columns, float *C,
                             int64_t stride, int start, const float *bias) {
    const float *A1 = A + upper * lead;
    float *C1 = C + upper * stride;
    const int64_t row = stride * 4, row_a = lead * 4, both = columns > 16;
    TILES_MEET_MEMORY(C);
    BEGIN_TILE(0, C, 0);
    BEGIN_TILE(2, C1, 0);
    if (both) {
        BEGIN_TILE(1, C, 16);
        BEGIN_TILE(3, C1, 16);
        for (int64_t k = 0; k < steps; k++, A += 16, A1 += 16, B += 16 * PANEL) {
            _tile_loadd(4, A, row_a);
            _tile_loadd(6, B, 4 * PANEL);
            _tile_loadd(5, A1, row_a);
            _tile_loadd(7, B + 16, 4 * PANEL);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(1, C + 16, row);
        _tile_stored(3, C1 + 16, row);
    } else {
        for (int64_t k = 0; k < steps; k++, A += 16, A1 += 16, B += 16 * PANEL) {
            _tile_loadd(4, A, row_a);
            _tile_loadd(6, B, 4 * PANEL);
            _tile_loadd(5, A1, row_a);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(2, 5, 6);
        }
    }
    _tile_stored(0, C, row);
    _tile_stored(2, C1, row);
    TILES_MEET_MEMORY(C);
}

/* Up to 16 rows of two panels (``next``: cells from one to the other), of which ``columns`` > 0 are wanted. */
static void tiles_one_by_four(int64_t steps, const float *A, int64_t lead, const float *B, int64_t next, int64_t columns, float *C,
                              int64_t stride, int start, const float *bias) {
    const int64_t row = stride * 4, row_a = lead * 4, tiles = (columns + 15) / 16;
    TILES_MEET_MEMORY(C);
    BEGIN_TILE(0, C, 0);
    if (tiles > 1) BEGIN_TILE(1, C, 16);
    if (tiles > 2) BEGIN_TILE(2, C, 32);
    if (tiles > 3) BEGIN_TILE(3, C, 48);
    if (tiles == 4) {
        for (int64_t k = 0; k < steps; k++, A += 16, B += 16 * PANEL) {
            _tile_loadd(4, A, row_a);
            _tile_loadd(5, B, 4 * PANEL);
            _tile_loadd(6, B + 16, 4 * PANEL);
            _tile_loadd(7, B + next, 4 * PANEL);
            _tile_dpbf16ps(0, 4, 5);
            _tile_dpbf16ps(1, 4, 6);
            _tile_dpbf16ps(2, 4, 7);
            _tile_loadd(5, B + next + 16, 4 * PANEL);
            _tile_dpbf16ps(3, 4, 5);
        }
    } else {
        for (int64_t k = 0; k < steps; k++, A += 16, B += 16 * PANEL) {
            _tile_loadd(4, A, row_a);
            _tile_loadd(5, B, 4 * PANEL);
            _tile_dpbf16ps(0, 4, 5);
            if (tiles > 1) {
                _tile_loadd(6, B + 16, 4 * PANEL);
                _tile_dpbf16ps(1, 4, 6);
            }
            if (tiles > 2) {
                _tile_loadd(7, B + next, 4 * PANEL);
                _tile_dpbf16ps(2, 4, 7);
            }
        }
    }
    _tile_stored(0, C, row);
    if (tiles > 1) _tile_stored(1, C + 16, row);
    if (tiles > 2) _tile_stored(2, C + 32, row);
    if (tiles > 3) _tile_stored(3, C + 48, row);
    TILES_MEET_MEMORY(C);
}

/* At most 32 rows by one panel, or 16 by two; what is no multiple of 16 columns goes through memory of its own. */
static void tiles_block(int upper, int lower, int64_t steps, const float *A, int64_t lead, const float *B, int64_t next, int64_t columns,
                        float *C, int64_t stride, int start, const float *bias) {
    const int64_t across = lower ? PANEL : 2 * PANEL;
    float edge[32 * PANEL] __attribute__((aligned(64))), edge_bias[2 * PANEL];
    float *target = C;
    if (columns % 16) {
        target = edge;
        for (int i = 0; i < upper + lower && start == START_RESULT; i++) memcpy(edge + i * across, C + i * stride, (size_t)columns * sizeof(float));
        if (start == START_BIAS) bias = memcpy(edge_bias, bias, (size_t)columns * sizeof(float));
    }
    const int64_t step = target == edge ? across : stride;
    if (lower) tiles_two_by_two(upper, steps, A, lead, B, columns, target, step, start, bias);
    else tiles_one_by_four(steps, A, lead, B, next, columns, target, step, start, bias);
    for (int i = 0; i < upper + lower && target == edge; i++) memcpy(C + i * stride, edge + i * across, (size_t)columns * sizeof(float));
}

/* Inner loops longer than this are cut, so that the panel and the rows of a block stay in the first-level cache. */
#define TILE_STEPS 16

/* All panels for the rows of blocks that are equally high, from the last panel on if ``flip``. */
static void tiles_blocks(int64_t blocks, int upper, int lower, int64_t width, int64_t steps, const float *A, int64_t lead,
                         const float *packed, float *C, int64_t stride, int start, const float *bias, int flip) {
    const int64_t height = upper + lower, across = lower ? PANEL : 2 * PANEL, next = steps * 16 * PANEL, last = (width - 1) / across * across;
    tile_shapes(upper, lower);
    for (int64_t m = 0; m < width; m += across) {
        const int64_t n = flip ? last - m : m;
        for (int64_t k = 0; k < steps; k += TILE_STEPS)
            for (int64_t i = 0; i < blocks; i++)
                tiles_block(upper, lower, smaller(TILE_STEPS, steps - k), A + i * height * lead + k * 16, lead,
                            packed + n / PANEL * next + k * 16 * PANEL, next, smaller(across, width - n), C + i * height * stride + n, stride,
                            k ? START_RESULT : start, bias ? bias + n : 0);
    }
}

static void cells_product(int64_t rows, int64_t width, int64_t depth, const float *A, int64_t lead, const float *packed, float *C,
                          int64_t stride, int start, const float *bias, int far, int flip) {
    (void)far;
    const int64_t steps = thirty_twos(depth), whole_blocks = rows / 32, done = whole_blocks * 32;
    const int rest = (int)(rows - done);
    if (!tiles_allowed()) {
        pairs_product(rows, width, depth, A, lead, packed, C, stride, start, bias, flip);
        return;
    }
    if (whole_blocks) tiles_blocks(whole_blocks, 16, 16, width, steps, A, lead, packed, C, stride, start, bias, flip);
    if (rest) {
        const int lower = rest > 16 ? rest / 2 : 0;
        tiles_blocks(1, rest - lower, lower, width, steps, A + done * lead, lead, packed, C + done * stride, stride, start, bias, flip);
    }
}

/* Columns of a left factor become rows: a block of 32 rows and 16 columns at a time. */
static void cells_of_columns(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to, int64_t lead) {
    for (int64_t r = 0; r < rows; r += 32)
        for (int64_t n = 0; n < columns; n += 16) {
            const __mmask16 mask = first_of_16(columns - n);
            const float *source = from + r * stride + n;
            __m512i v[16];
            if (rows - r >= 32)
#pragma GCC unroll 16
                for (int q = 0; q < 16; q++) v[q] = pairs_of_two(source + 2 * q * stride, source + (2 * q + 1) * stride, mask);
            else
                for (int64_t q = 0; q < 16; q++) {
                    const int64_t left = rows - r - 2 * q;
                    v[q] = left > 0 ? pairs_of_two(source + 2 * q * stride, left > 1 ? source + (2 * q + 1) * stride : 0, mask) : _mm512_setzero_si512();
                }
            transpose_16(v);
            float *target = to + n * lead + r / 2;
            if (columns - n >= 16)
#pragma GCC unroll 16
                for (int i = 0; i < 16; i++) _mm512_storeu_si512(target + i * lead, v[i]);
            else
                for (int64_t i = 0; i < columns - n; i++) _mm512_storeu_si512(target + i * lead, v[i]);
        }
}

/* C[columns, width] = start + left[rows, columns]^T right; ``area``: room for the left factor. */
static void cells_outer(int64_t columns, int64_t width, int64_t rows, const float *left, int64_t lead, const float *packed, float *C,
                        int start, int far, int flip, float *area) {
    if (!tiles_allowed()) {
        pairs_outer(columns, width, rows, left, lead, packed, C, start, area);
        return;
    }
    const int64_t lead_cells = cells_lead(rows);
    cells_of_columns(left, lead, rows, columns, area, lead_cells);
    cells_product(columns, width, rows, area, lead_cells, packed, C, width, start, 0, far, flip);
}

#endif
