/* Cells that are pairs of bfloat16, for AVX512-BF16 (here) and AMX (tiles.h). Included by bf16.h.
 *
 * A row of a left factor is a row of pairs, filled up with zeros to whole cache lines (a depth of 32). A panel of a right factor holds,
 * pair of rows by pair of rows, PANEL cells. */
#ifndef CELLSEARCH_PAIRS_H
#define CELLSEARCH_PAIRS_H

#if PANEL != 32
#error "a panel has two vectors of 16"
#endif

INLINE __mmask16 first_of_16(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }

/* 32 numbers of a row (or as many as there are) as 16 pairs. */
INLINE __m512i pairs_of_row(const float *from, int64_t n) {
    const __m512 low = _mm512_maskz_loadu_ps(first_of_16(n), from), high = n > 16 ? _mm512_maskz_loadu_ps(first_of_16(n - 16), from + 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 16 columns of two rows as 16 pairs; where ``second`` is null, it counts as zeros. */
INLINE __m512i pairs_of_two(const float *first, const float *second, __mmask16 columns) {
    const __m512 low = _mm512_maskz_loadu_ps(columns, first), high = second ? _mm512_maskz_loadu_ps(columns, second) : _mm512_setzero_ps();
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2,
                                           17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, halves);
}

/* Rows become columns: 16 vectors of 16 cells. */
INLINE void transpose_16(__m512i v[16]) {
    __m512i a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const __m512i p = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88), q = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88);
        const __m512i r = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd), s = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
        v[i] = _mm512_shuffle_i32x4(p, q, 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(p, q, 0xdd);
        v[i + 4] = _mm512_shuffle_i32x4(r, s, 0x88);
        v[i + 12] = _mm512_shuffle_i32x4(r, s, 0xdd);
    }
}

/* Rows of a left factor. */
static void cells_of_rows(const float *from, int64_t stride, int64_t rows, int64_t depth, float *to, int64_t lead) {
    for (int64_t r = 0; r < rows; r++, from += stride, to += lead) {
        int64_t k = 0;
        for (; k + 32 <= depth; k += 32)
            _mm512_storeu_si512(to + k / 2, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + k + 16), _mm512_loadu_ps(from + k)));
        if (k < depth) _mm512_storeu_si512(to + k / 2, pairs_of_row(from + k, depth - k));
    }
}

/* Rows of a right factor into panels; the rows are the depth of the product. */
static void cells_of_panels(const float *from, int64_t stride, int64_t rows, int64_t width, float *packed) {
    const int64_t pairs = thirty_twos(rows) * 16;
    for (int64_t n = 0; n < panels(width) * PANEL; n += 16) {
        const __mmask16 mask = first_of_16(width - n);
        float *to = packed + n / PANEL * pairs * PANEL + n % PANEL;
        for (int64_t q = 0; q < pairs; q++) {
            const float *source = from + 2 * q * stride + n;
            const int64_t left = mask ? rows - 2 * q : 0;
            _mm512_storeu_si512(to + q * PANEL, left > 0 ? pairs_of_two(source, left > 1 ? source + stride : 0, mask) : _mm512_setzero_si512());
        }
    }
}

/* Zero what no weight fills: columns beyond the last, and the depth beyond the last pair, which may be half full. */
static void cells_of_edge(int64_t width, int64_t depth, float *packed) {
    const int64_t pairs = thirty_twos(depth) * 16;
    for (int64_t p = 0; p < panels(width); p++)
        memset(packed + (p * pairs + depth / 2) * PANEL, 0, (size_t)((pairs - depth / 2) * PANEL) * sizeof(float));
    for (int64_t q = 0; q < pairs && width % PANEL; q++)
        memset(packed + (width / PANEL * pairs + q) * PANEL + width % PANEL, 0, (size_t)(PANEL - width % PANEL) * sizeof(float));
}

/* A weight stored [columns, rows]: 16 columns and 32 rows at a time. */
static void pairs_of_transposed(const float *W, const Piece *p, int64_t pairs, float *packed) {
    for (int64_t c = 0; c < p->columns;) {
        const int64_t n = p->column + c, count = smaller(smaller(16, PANEL - n % PANEL), p->columns - c);
        const __mmask16 mask = first_of_16(count);
        for (int64_t k = 0; k < p->rows; k += 32) {
            const int64_t left = p->rows - k;
            float *to = packed + (n / PANEL * pairs + (p->row + k) / 2) * PANEL + n % PANEL;
            __m512i v[16];
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) v[i] = i < count ? pairs_of_row(W + (c + i) * p->rows + k, left) : _mm512_setzero_si512();
            transpose_16(v);
            if (left >= 32)
#pragma GCC unroll 16
                for (int q = 0; q < 16; q++) _mm512_mask_storeu_epi32(to + q * PANEL, mask, v[q]);
            else
                for (int64_t q = 0; 2 * q < left; q++) _mm512_mask_storeu_epi32(to + q * PANEL, mask, v[q]);
        }
        c += count;
    }
}

/* A weight stored [rows, columns]. */
static void pairs_of_plain(const float *W, const Piece *p, int64_t pairs, float *packed) {
    for (int64_t c = 0; c < p->columns;) {
        const int64_t n = p->column + c, count = smaller(smaller(16, PANEL - n % PANEL), p->columns - c);
        const __mmask16 mask = first_of_16(count);
        float *to = packed + (n / PANEL * pairs + p->row / 2) * PANEL + n % PANEL;
        for (int64_t k = 0; k < p->rows; k += 2, to += PANEL) {
            const float *source = W + k * p->columns + c;
            _mm512_mask_storeu_epi32(to, mask, pairs_of_two(source, k + 1 < p->rows ? source + p->columns : 0, mask));
        }
        c += count;
    }
}

/* Put a weight into panels. One that shares a pair with its neighbour is put there number by number. */
static void cells_of_piece(const float *W, const Piece *p, int64_t depth, float *packed) {
    const int64_t pairs = thirty_twos(depth) * 16;
    if (p->row % 2 == 0 && (p->rows % 2 == 0 || p->row + p->rows == depth)) {
        (p->transposed ? pairs_of_transposed : pairs_of_plain)(W, p, pairs, packed);
        return;
    }
    for (int64_t k = 0; k < p->rows; k++)
        for (int64_t c = 0; c < p->columns; c++) {
            const int64_t n = p->column + c, row = p->row + k;
            const float rounded = round_bf16(p->transposed ? W[c * p->rows + k] : W[k * p->columns + c]);
            char *cell = (char *)(packed + (n / PANEL * pairs + row / 2) * PANEL + n % PANEL);
            memcpy(cell + 2 * (row % 2), (const char *)&rounded + 2, 2);
        }
}

/* A tile of product.h on pairs: C[m, vectors * 16] = start + sum over pairs q of A(i, q) * panel[q]. What it begins with may be far away: it is
 * asked for first and added last; and so may be the next panel, of which ``pace`` cells for each pair are fetched meanwhile. */
INLINE void pairs_body(const int m, const int vectors, int64_t pairs, const float *A, int64_t across, int64_t along, const float *panel,
                       float *C, int64_t stride, int start, const float *bias, const float *next, int64_t pace) {
    __m512 c[TILE][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
        if (start == START_RESULT) {
            __builtin_prefetch(C + i * stride, 1);
            __builtin_prefetch(C + i * stride + vectors * 16 - 1, 1);
        }
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) c[i][j] = start == START_BIAS ? _mm512_loadu_ps(bias + j * 16) : _mm512_setzero_ps();
    }
    for (int64_t q = 0; q < pairs; q++, A += along, panel += PANEL, next += pace) {
        __m512bh b[VECTORS];
        __builtin_prefetch(next, 0, 2);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) b[j] = (__m512bh)_mm512_loadu_ps(panel + j * 16);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            const __m512bh a = (__m512bh)_mm512_set1_ps(A[i * across]);
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) c[i][j] = _mm512_dpbf16_ps(c[i][j], a, b[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            float *place = C + i * stride + j * 16;
            _mm512_storeu_ps(place, start == START_RESULT ? _mm512_add_ps(c[i][j], _mm512_loadu_ps(place)) : c[i][j]);
        }
}

#define PAIRS_FUNCTION(name, m, vectors, across, along)                                                                             \
    static void name(int64_t pairs, const float *A, int64_t lead, const float *panel, float *C, int64_t stride, int start,          \
                     const float *bias, const float *next, int64_t pace) {                                                          \
        pairs_body(m, vectors, pairs, A, across, along, panel, C, stride, start, bias, next, pace);                                 \
    }
#define PAIRS_FUNCTIONS(m)                                        \
    PAIRS_FUNCTION(pairs_rows_##m, m, VECTORS, lead, 1)           \
    PAIRS_FUNCTION(pairs_columns_##m, m, VECTORS, 1, lead)        \
    PAIRS_FUNCTION(pairs_half_rows_##m, m, VECTORS / 2, lead, 1)  \
    PAIRS_FUNCTION(pairs_half_columns_##m, m, VECTORS / 2, 1, lead)
PAIRS_FUNCTIONS(1) PAIRS_FUNCTIONS(2) PAIRS_FUNCTIONS(3) PAIRS_FUNCTIONS(4) PAIRS_FUNCTIONS(5) PAIRS_FUNCTIONS(6)
PAIRS_FUNCTIONS(7) PAIRS_FUNCTIONS(8) PAIRS_FUNCTIONS(9) PAIRS_FUNCTIONS(10) PAIRS_FUNCTIONS(11) PAIRS_FUNCTIONS(12)
#define PAIRS_ROWS_NAME(m) pairs_rows_##m
#define PAIRS_COLUMNS_NAME(m) pairs_columns_##m
#define PAIRS_HALF_ROWS_NAME(m) pairs_half_rows_##m
#define PAIRS_HALF_COLUMNS_NAME(m) pairs_half_columns_##m
static tile_function *const PAIRS_ROWS[] = {EACH_HEIGHT(PAIRS_ROWS_NAME)};
static tile_function *const PAIRS_COLUMNS[] = {EACH_HEIGHT(PAIRS_COLUMNS_NAME)};
static tile_function *const PAIRS_HALF_ROWS[] = {EACH_HEIGHT(PAIRS_HALF_ROWS_NAME)};
static tile_function *const PAIRS_HALF_COLUMNS[] = {EACH_HEIGHT(PAIRS_HALF_COLUMNS_NAME)};

/* The pairs that only fill up the depth are left out. */
static void pairs_product(int64_t rows, int64_t width, int64_t depth, const float *A, int64_t lead, const float *packed, float *C,
                          int64_t stride, int start, const float *bias, int flip) {
    const int64_t pairs = (depth + 1) / 2, height = thirty_twos(depth) * 16, last = (width - 1) / PANEL * PANEL;
    for (int64_t m = 0; m < width; m += PANEL)
        for (int64_t q = 0, n = flip ? last - m : m; q < pairs; q += DEPTH) {
            const int64_t some = smaller(DEPTH, pairs - q);
            const float *panel = packed + (n / PANEL * height + q) * PANEL;
            const float *next = q + some < pairs ? panel + some * PANEL : panel + ((flip ? -height : height) - q) * PANEL;
            panel_product(PAIRS_ROWS, PAIRS_HALF_ROWS, rows, smaller(PANEL, width - n), some, A + q, lead, lead, panel, next, C + n, stride,
                          q ? START_RESULT : start, start == START_BIAS ? bias + n : bias);
        }
}

/* C[columns, width] = start + left[rows, columns]^T right for at most OUTER_COLUMNS columns; they are put into ``area`` as rows of pairs. */
static void pairs_outer(int64_t columns, int64_t width, int64_t rows, const float *left, int64_t lead, const float *packed, float *C,
                        int start, float *area) {
    const int64_t pairs = (rows + 1) / 2, height = thirty_twos(rows) * 16;
    for (int64_t q = 0; q < pairs; q++, left += 2 * lead)
        for (int64_t n = 0; n < columns; n += 16) {
            const float *second = 2 * q + 1 < rows ? left + lead + n : 0;
            _mm512_storeu_si512(area + q * OUTER_COLUMNS + n, pairs_of_two(left + n, second, first_of_16(columns - n)));
        }
    for (int64_t k = 0; k < width; k += PANEL) {
        const float *panel = packed + k / PANEL * height * PANEL;
        panel_product(PAIRS_COLUMNS, PAIRS_HALF_COLUMNS, columns, smaller(PANEL, width - k), pairs, area, 1, OUTER_COLUMNS, panel,
                      panel + height * PANEL, C + k, width, start, 0);
    }
}

#define DIRECT 4 /* rows that read a weight together */

/* C[m, columns] += rows of pairs times a weight that is stored [columns, depth]. */
INLINE void direct_body(const int m, int64_t columns, int64_t depth, const float *pairs, int64_t lead, const float *W, float *C, int64_t stride) {
    for (int64_t n = 0; n < columns; n++, W += depth) {
        __m512 sums[DIRECT];
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) sums[i] = _mm512_setzero_ps();
        for (int64_t k = 0; k < depth; k += 32) {
            const __m512bh w = (__m512bh)pairs_of_row(W + k, depth - k);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++) sums[i] = _mm512_dpbf16_ps(sums[i], (__m512bh)_mm512_loadu_ps(pairs + i * lead + k / 2), w);
        }
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) C[i * stride + n] += _mm512_reduce_add_ps(sums[i]);
    }
}

/* Whether it was done: a weight stored [columns, rows] is read in pairs. ``cells``: room for DIRECT rows of A. */
static int cells_direct(int64_t rows, const Piece *p, const float *A, int64_t lead, const float *W, float *C, int64_t stride, float *cells) {
    const int64_t wide = cells_lead(p->rows);
    if (!p->transposed) return 0;
    for (int64_t i = 0; i < rows; i += DIRECT) {
        const int64_t count = smaller(DIRECT, rows - i);
        float *c = C + i * stride + p->column;
        cells_of_rows(A + i * lead + p->row, lead, count, p->rows, cells, wide);
        if (count == 4) direct_body(4, p->columns, p->rows, cells, wide, W, c, stride);
        else if (count == 3) direct_body(3, p->columns, p->rows, cells, wide, W, c, stride);
        else if (count == 2) direct_body(2, p->columns, p->rows, cells, wide, W, c, stride);
        else direct_body(1, p->columns, p->rows, cells, wide, W, c, stride);
    }
    return 1;
}

#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__linux__)
#include "tiles.h"
#else

static const char *bf16_path(void) { return "avx512_bf16"; }
static void bf16_release(void) {}

static void cells_product(int64_t rows, int64_t width, int64_t depth, const float *A, int64_t lead, const float *packed, float *C,
                          int64_t stride, int start, const float *bias, int far, int flip) {
    (void)far;
    pairs_product(rows, width, depth, A, lead, packed, C, stride, start, bias, flip);
}

static void cells_outer(int64_t columns, int64_t width, int64_t rows, const float *left, int64_t lead, const float *packed, float *C,
                        int start, int far, int flip, float *area) {
    (void)far, (void)flip;
    pairs_outer(columns, width, rows, left, lead, packed, C, start, area);
}

#endif

#endif
