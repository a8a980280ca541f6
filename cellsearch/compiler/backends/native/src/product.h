/* Matrix products on packed operands.
 *
 * One factor is packed into panels of PANEL columns: panel p holds, for k = 0, 1, ..., the PANEL numbers of row k, so the inner loop
 * reads it from front to back. A tile of TILE rows and one panel of the result stays in vector registers over the whole inner loop. */
#ifndef CELLSEARCH_PRODUCT_H
#define CELLSEARCH_PRODUCT_H

#include <string.h>

#include "functions.h"

/* TILE * VECTORS accumulators, VECTORS panel vectors and one broadcast number must fit the vector registers (16 or 32). */
#if defined(__AVX512F__)
#define VECTORS 2
#define TILE 12
#elif LANES == 8
#define VECTORS 2
#define TILE 6
#elif defined(__ARM_NEON)
#define VECTORS 4
#define TILE 6
#else
#define VECTORS 2
#define TILE 4
#endif
#define PANEL (LANES * VECTORS)

enum { START_ZERO = 0, START_RESULT = 1, START_BIAS = 2 }; /* what the tile begins with: 0, C itself, or a row for all rows */

/* How a tile meets memory, apart from its panel. */
enum {
    NEAR,  /* everything is in the first two caches: begin with the result so far */
    LATE,  /* the result so far may be far away: ask for it first, add it last */
    AHEAD, /* LATE, and the panels are far away too: ask for the next one meanwhile */
};

/* C[m, vectors * LANES] = start + sum over k of A(i, k) * panel[k]; A(i, k) is A[i * across + k * along]. ``m``, ``vectors`` and
 * ``memory`` must be constants.
 * AHEAD: numbers from ``next`` on are fetched into the second-level cache, ``pace`` of them for each k. */
INLINE void tile_body(const int m, const int vectors, const int memory, int64_t depth, const float *A, int64_t across, int64_t along,
                      const float *panel, float *C, int64_t stride, int start, const float *bias, const float *next, int64_t pace) {
    vector c[TILE][VECTORS];
#pragma GCC unroll 16
    for (int i = 0; i < m; i++) {
        if (memory != NEAR && start == START_RESULT) {
            __builtin_prefetch(C + i * stride, 1);
            __builtin_prefetch(C + i * stride + vectors * LANES - 1, 1);
        }
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            if (memory == NEAR && start == START_RESULT) c[i][j] = *(const vector *)(C + i * stride + j * LANES);
            else if (start == START_BIAS) c[i][j] = *(const vector *)(bias + j * LANES);
            else c[i][j] = (vector){0};
        }
    }
    for (int64_t k = 0; k < depth; k++) {
        vector b[VECTORS];
        if (memory == AHEAD) {
            __builtin_prefetch(next, 0, 2);
            next += pace;
        }
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) b[j] = *(const vector *)(panel + j * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < m; i++)
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) c[i][j] = add_product(c[i][j], A[i * across], b[j]);
        A += along;
        panel += PANEL;
    }
#pragma GCC unroll 16
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) {
            if (memory != NEAR && start == START_RESULT) c[i][j] += *(const vector *)(C + i * stride + j * LANES);
            *(vector *)(C + i * stride + j * LANES) = c[i][j];
        }
}

/* Functions of each tile height: along rows of A (a product; panels near or far), and along columns of A (a weight gradient); and
 * for half a panel, of columns that fill no more. */
typedef void tile_function(int64_t depth, const float *A, int64_t lead, const float *panel, float *C, int64_t stride, int start,
                           const float *bias, const float *next, int64_t pace);
#define TILE_FUNCTION(name, m, vectors, memory, across, along)                                                                      \
    static void name(int64_t depth, const float *A, int64_t lead, const float *panel, float *C, int64_t stride, int start,          \
                     const float *bias, const float *next, int64_t pace) {                                                          \
        tile_body(m, vectors, memory, depth, A, across, along, panel, C, stride, start, bias, next, pace);                                   \
    }
#define TILE_FUNCTIONS(m)                                                                                                           \
    TILE_FUNCTION(tile_rows_##m, m, VECTORS, NEAR, lead, 1)                                                                         \
    TILE_FUNCTION(tile_far_rows_##m, m, VECTORS, AHEAD, lead, 1)                                                                    \
    TILE_FUNCTION(tile_columns_##m, m, VECTORS, LATE, 1, lead)                                                                      \
    TILE_FUNCTION(half_rows_##m, m, VECTORS / 2, NEAR, lead, 1)                                                                     \
    TILE_FUNCTION(half_columns_##m, m, VECTORS / 2, LATE, 1, lead)
TILE_FUNCTIONS(1) TILE_FUNCTIONS(2) TILE_FUNCTIONS(3) TILE_FUNCTIONS(4)
#if TILE >= 6
TILE_FUNCTIONS(5) TILE_FUNCTIONS(6)
#endif
#if TILE >= 12
TILE_FUNCTIONS(7) TILE_FUNCTIONS(8) TILE_FUNCTIONS(9) TILE_FUNCTIONS(10) TILE_FUNCTIONS(11) TILE_FUNCTIONS(12)
#endif

#define EACH_HEIGHT(f) f(1), f(2), f(3), f(4) HEIGHTS_TO_6(f) HEIGHTS_TO_12(f)
#if TILE >= 6
#define HEIGHTS_TO_6(f) , f(5), f(6)
#else
#define HEIGHTS_TO_6(f)
#endif
#if TILE >= 12
#define HEIGHTS_TO_12(f) , f(7), f(8), f(9), f(10), f(11), f(12)
#else
#define HEIGHTS_TO_12(f)
#endif
#define ROWS_NAME(m) tile_rows_##m
#define FAR_ROWS_NAME(m) tile_far_rows_##m
#define COLUMNS_NAME(m) tile_columns_##m
static tile_function *const TILE_ROWS[] = {EACH_HEIGHT(ROWS_NAME)};
static tile_function *const TILE_FAR_ROWS[] = {EACH_HEIGHT(FAR_ROWS_NAME)};
#define HALF_ROWS_NAME(m) half_rows_##m
#define HALF_COLUMNS_NAME(m) half_columns_##m
static tile_function *const TILE_COLUMNS[] = {EACH_HEIGHT(COLUMNS_NAME)};
static tile_function *const HALF_ROWS[] = {EACH_HEIGHT(HALF_ROWS_NAME)};
static tile_function *const HALF_COLUMNS[] = {EACH_HEIGHT(HALF_COLUMNS_NAME)};

/* Inner loops longer than this are cut, so that one panel (DEPTH * PANEL floats) stays in the first-level cache. */
#define DEPTH 320
/* Packed weights up to this size are still in the second-level cache when the next step reads them. */
#define NEAR_FLOATS (48 << 10)
/* Packed weights from this size on fill that cache, and come from further away for each step. */
#ifndef FAR_FLOATS
#define FAR_FLOATS (256 << 10)
#endif

INLINE int64_t panels(int64_t columns) { return (columns + PANEL - 1) / PANEL; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* All row tiles of one panel of C, ``width`` <= PANEL columns of it being real. Heights differ by at most one. Narrow blocks fill half
 * a panel: with ``halves`` the other half is not computed, and every number of the result is the same sum. */
static void panel_product(tile_function *const *tiles, tile_function *const *halves, int64_t rows, int64_t width, int64_t depth, const float *A,
                          int64_t across, int64_t lead, const float *panel, const float *next, float *C, int64_t stride, int start,
                          const float *bias) {
    const int64_t count = (rows + TILE - 1) / TILE, pace = PANEL / count; /* each tile asks for its part of the next panel */
    int64_t row = 0, columns = PANEL;
    if (width <= PANEL / 2 && halves) {
        tiles = halves;
        columns = PANEL / 2;
    }
    for (int64_t n = 0; n < count; n++, next += depth * pace) {
        int64_t height = (rows - row + count - n - 1) / (count - n);
        float *target = C + row * stride;
        if (width == columns) {
            tiles[height - 1](depth, A + row * across, lead, panel, target, stride, start, bias, next, pace);
        } else {
            float edge[TILE * PANEL] __attribute__((aligned(64))), edge_bias[PANEL] = {0};
            if (start == START_RESULT) {
                memset(edge, 0, sizeof edge);
                for (int64_t i = 0; i < height; i++) memcpy(edge + i * PANEL, target + i * stride, width * sizeof(float));
            }
            if (start == START_BIAS && bias) memcpy(edge_bias, bias, width * sizeof(float));
            tiles[height - 1](depth, A + row * across, lead, panel, edge, PANEL, start, edge_bias, next, pace);
            for (int64_t i = 0; i < height; i++) memcpy(target + i * stride, edge + i * PANEL, width * sizeof(float));
        }
        row += height;
    }
}

/* C[rows, N] = start + A[rows, K] * packed[K, N]; ``far``: the panels of the whole matrix are too many for the first two caches. */
static void product(int64_t rows, int64_t N, int64_t K, const float *A, int64_t lead, const float *packed, float *C, int64_t stride,
                    int start, const float *bias, int far) {
    tile_function *const *tiles = far ? TILE_FAR_ROWS : TILE_ROWS, *const *halves = far ? 0 : HALF_ROWS;
    for (int64_t p = 0; p < panels(N); p++)
        for (int64_t k = 0; k < K; k += DEPTH) {
            const int64_t n = p * PANEL, depth = smaller(DEPTH, K - k);
            const float *panel = packed + (p * K + k) * PANEL;
            panel_product(tiles, halves, rows, smaller(PANEL, N - n), depth, A + k, lead, lead, panel, panel + depth * PANEL, C + n, stride,
                          k ? START_RESULT : start, start == START_BIAS ? bias + n : bias);
        }
}

/* Put a weight at (row, column) of a matrix [K, N] in panels. ``transposed``: the weight is stored [columns, rows]. */
static void pack_weight(const float *W, int64_t lead, int transposed, int64_t rows, int64_t columns, int64_t row, int64_t column, int64_t K,
                        float *packed) {
    for (int64_t c = 0; c < columns;) {
        int64_t n = column + c, lane = n % PANEL, count = smaller(PANEL - lane, columns - c);
        float *target = packed + ((n / PANEL) * K + row) * PANEL + lane;
        if (!transposed) {
            for (int64_t k = 0; k < rows; k++) memcpy(target + k * PANEL, W + k * lead + c, count * sizeof(float));
        } else {
            /* Eight rows of the weight at a time: enough to fill cache lines of the target, few enough streams to read. */
            for (int64_t u = 0; u < count; u += 8) {
                const float *source = W + (c + u) * lead;
                float *t = target + u;
                if (count - u >= 8)
                    for (int64_t k = 0; k < rows; k++)
                        for (int v = 0; v < 8; v++) t[k * PANEL + v] = source[v * lead + k];
                else
                    for (int64_t k = 0; k < rows; k++)
                        for (int64_t v = 0; v < count - u; v++) t[k * PANEL + v] = source[v * lead + k];
            }
        }
        c += count;
    }
}

/* Zero the columns beyond N of the last panel: they are computed with, and must not raise NaN or slow subnormals. */
static void pack_edge(int64_t K, int64_t N, float *packed) {
    if (N % PANEL == 0) return;
    float *last = packed + (N / PANEL) * K * PANEL;
    for (int64_t k = 0; k < K; k++) memset(last + k * PANEL + N % PANEL, 0, (PANEL - N % PANEL) * sizeof(float));
}

/* Without packing, for few rows: C(i, n) = sum over k of A[i, k] * W[n, k]; columns are eight running sums each, added in fixed order. */
static void product_direct(int64_t rows, int64_t N, int64_t K, const float *A, int64_t lead, const float *W, int64_t stride_w, float *C,
                           int64_t stride) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t n = 0; n < N; n++) {
            const float *a = A + i * lead, *w = W + n * stride_w;
            vector sums[4] = {{0}};
            int64_t k = 0;
            for (; k + 4 * LANES <= K; k += 4 * LANES)
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) sums[j] += *(const vector *)(a + k + j * LANES) * *(const vector *)(w + k + j * LANES);
            for (; k + LANES <= K; k += LANES) sums[0] += *(const vector *)(a + k) * *(const vector *)(w + k);
            vector all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
            float sum = 0.0f;
            for (int j = 0; j < LANES; j++) sum += all[j];
            for (; k < K; k++) sum += a[k] * w[k];
            C[i * stride + n] += sum;
        }
}

#endif
