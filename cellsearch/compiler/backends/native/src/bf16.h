/* Products of factors rounded to bfloat16, summed in float32: what ``precision = "bf16"`` means.
 *
 * Both factors of every dense product are rounded to the nearest bfloat16 (ties to even). NaN stays NaN, infinity stays infinity, and
 * numbers below the normal range count as zero, as the processors' own instructions have it. All else stays float32.
 *
 * There are two layouts, both in cells of four bytes. *Pairs*: a cell holds two bfloat16 that follow each other in the depth of the
 * product, as AVX512-BF16 and AMX read them (pairs.h, tiles.h); depths are filled up with zeros to a multiple of 32. *Floats*: a cell
 * holds a rounded number as float32, for the micro-kernels of product.h; that is how every other processor does it. The kernels differ
 * in the order of their sums only. */
#ifndef CELLSEARCH_BF16_H
#define CELLSEARCH_BF16_H

#include "format.h"
#include "product.h"
#include "threads.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512BF16__)
#define BF16_PAIRS 1
#define CELLS_OF_32 16 /* cells of a depth of 32 */
#else
#define BF16_PAIRS 0
#define CELLS_OF_32 32
#endif

typedef uint32_t bits_vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* A number, or a vector of them, rounded to bfloat16. Branches would be slower than computing all three answers. */
INLINE float round_bf16(float x) {
    uint32_t b, size;
    memcpy(&b, &x, sizeof b);
    size = b & 0x7fffffff;
    uint32_t r = (b + 0x7fff + ((b >> 16) & 1)) & 0xffff0000;
    r = size > 0x7f800000 ? (b | 0x00400000) & 0xffff0000 : r;
    r = size < 0x00800000 ? b & 0x80000000 : r;
    memcpy(&x, &r, sizeof x);
    return x;
}

INLINE vector round_bf16_v(vector x) {
    const bits_vector b = (bits_vector)x, size = b & 0x7fffffff;
    const bits_vector r = (b + 0x7fff + ((b >> 16) & 1)) & 0xffff0000;
    const vector or_nan = choose((whole)size > 0x7f800000, (vector)((b | 0x00400000) & 0xffff0000), (vector)r);
    return choose((whole)size < 0x00800000, (vector)(b & 0x80000000), or_nan);
}

INLINE int64_t thirty_twos(int64_t depth) { return (depth + 31) / 32; }
/* Cells from one row of a left factor to the next. Pairs: an odd number of cache lines, so that rows of a tile do not share few sets. */
INLINE int64_t cells_lead(int64_t depth) { return (thirty_twos(depth) | BF16_PAIRS) * CELLS_OF_32; }
/* Cells of a packed right factor before a panel; */
INLINE int64_t cells_before(int64_t columns, int64_t depth) { return columns * (BF16_PAIRS ? thirty_twos(depth) * CELLS_OF_32 : depth); }
/* of all of it, as much as both layouts need; and of the left one of a product. */
INLINE int64_t cells_packed(int64_t width, int64_t depth) { return panels(width) * PANEL * thirty_twos(depth) * CELLS_OF_32; }
INLINE int64_t cells_left(int64_t depth) { return OUTER_ROWS * (thirty_twos(depth) | 1) * CELLS_OF_32; }

#if BF16_PAIRS
#include "pairs.h"
#else

static const char *bf16_path(void) { return PATH; }
static void bf16_release(void) {}

/* Rows of a left factor. */
static void cells_of_rows(const float *from, int64_t stride, int64_t rows, int64_t depth, float *to, int64_t lead) {
    for (int64_t r = 0; r < rows; r++, from += stride, to += lead) {
        int64_t k = 0;
        for (; k + LANES <= depth; k += LANES) *(vector *)(to + k) = round_bf16_v(*(const vector *)(from + k));
        for (; k < depth; k++) to[k] = round_bf16(from[k]);
    }
}

/* The same, columns becoming rows. */
static void cells_of_columns(const float *from, int64_t stride, int64_t rows, int64_t columns, float *to, int64_t lead) {
    for (int64_t n = 0; n < columns; n++)
        for (int64_t r = 0; r < rows; r++) to[n * lead + r] = round_bf16(from[r * stride + n]);
}

/* Rows of a right factor into panels; the rows are the depth of the product. */
static void cells_of_panels(const float *from, int64_t stride, int64_t rows, int64_t width, float *packed) {
    for (int64_t n = 0; n < panels(width) * PANEL; n++)
        for (int64_t r = 0; r < rows; r++)
            packed[(n / PANEL * rows + r) * PANEL + n % PANEL] = n < width ? round_bf16(from[r * stride + n]) : 0.0f;
}

static void cells_of_edge(int64_t width, int64_t depth, float *packed) { pack_edge(depth, width, packed); }

static void cells_of_piece(const float *W, const Piece *p, int64_t depth, float *packed) {
    for (int64_t k = 0; k < p->rows; k++)
        for (int64_t c = 0; c < p->columns; c++) {
            const int64_t n = p->column + c;
            packed[(n / PANEL * depth + p->row + k) * PANEL + n % PANEL] = round_bf16(p->transposed ? W[c * p->rows + k] : W[k * p->columns + c]);
        }
}

static void cells_product(int64_t rows, int64_t width, int64_t depth, const float *A, int64_t lead, const float *packed, float *C,
                          int64_t stride, int start, const float *bias, int far, int flip) {
    (void)flip;
    product(rows, width, depth, A, lead, packed, C, stride, start, bias, far);
}

/* C[columns, width] = start + left[rows, columns]^T right; ``area``: room for the left factor. */
static void cells_outer(int64_t columns, int64_t width, int64_t rows, const float *left, int64_t lead, const float *packed, float *C,
                        int start, int far, int flip, float *area) {
    cells_of_columns(left, lead, rows, columns, area, cells_lead(rows));
    cells_product(columns, width, rows, area, cells_lead(rows), packed, C, width, start, 0, far, flip);
}

static int cells_direct(int64_t rows, const Piece *p, const float *A, int64_t lead, const float *W, float *C, int64_t stride, float *cells) {
    (void)rows, (void)p, (void)A, (void)lead, (void)W, (void)C, (void)stride, (void)cells;
    return 0;
}

#endif

/* C[rows, width] = start + rounded A[rows, depth] * packed, or some panels of it; ``far``: as in product.h; ``cells``: room for a block of rows of A. ``flip``: begin with the last
 * panel. Every other time: a weight that is larger than the cache then begins with what is still in it. The result is the same. */
static void product_bf16(int64_t rows, int64_t width, int64_t depth, const float *A, int64_t stride_a, const float *packed, float *C,
                         int64_t stride, int start, const float *bias, int far, int flip, float *cells) {
    const int64_t lead = cells_lead(depth);
    for (int64_t row = 0; row < rows; row += OUTER_ROWS, flip = !flip) {
        const int64_t count = smaller(OUTER_ROWS, rows - row);
        cells_of_rows(A + row * stride_a, stride_a, count, depth, cells, lead);
        cells_product(count, width, depth, cells, lead, packed, C + row * stride, stride, start, bias, far, flip);
    }
}

/* For few rows: a weight (or a block of it) as it lies, rounded on the way; added to C. */
static void direct_bf16(int64_t rows, const Piece *p, const float *A, int64_t lead, const float *W, float *C, int64_t stride, float *cells) {
    if (cells_direct(rows, p, A, lead, W, C, stride, cells)) return;
    for (int64_t i = 0; i < rows; i++) {
        const float *a = A + i * lead + p->row;
        float *c = C + i * stride + p->column;
        if (p->transposed)
            for (int64_t n = 0; n < p->columns; n++) {
                const float *w = W + n * p->rows;
                vector sums = {0};
                float rest = 0.0f;
                int64_t k = 0;
                for (; k + LANES <= p->rows; k += LANES) sums += round_bf16_v(*(const vector *)(a + k)) * round_bf16_v(*(const vector *)(w + k));
                for (; k < p->rows; k++) rest += round_bf16(a[k]) * round_bf16(w[k]);
                for (int j = 0; j < LANES; j++) rest += sums[j];
                c[n] += rest;
            }
        else
            for (int64_t k = 0; k < p->rows; k++) {
                const float factor = round_bf16(a[k]);
                for (int64_t n = 0; n < p->columns; n++) c[n] += factor * round_bf16(W[k * p->columns + n]);
            }
    }
}

/* One block of at most OUTER_ROWS rows whose right factor is packed: left^T right is added to a share of the rows of the gradients,
 * whose memory ``buffer`` gives for each piece. */
static void outer_bf16(const Command *c, const Piece *piece, const Buffer *buffer, const float *left, int64_t lead, int64_t rows,
                       const float *packed, const Member *me, int first) {
    const int far = c->depth * rows > NEAR_FLOATS;
    float *area = me->scratch + panels(c->depth) * PANEL * thirty_twos(OUTER_ROWS) * CELLS_OF_32;
    for (const Piece *p = piece; p < piece + c->count; p++) {
        const int start = first && p->transposed ? START_ZERO : START_RESULT;
        const Range mine = share(p->rows, 1, me);
        for (int64_t n = mine.from; n < mine.to; n += OUTER_COLUMNS) {
            const int64_t columns = smaller(OUTER_COLUMNS, mine.to - n);
            cells_outer(columns, c->depth, rows, left + p->row + n, lead, packed, buffer[p->buffer].base + p->offset + n * c->depth, start, far,
                        (int)(n / OUTER_COLUMNS % 2), area);
        }
    }
}

#endif
