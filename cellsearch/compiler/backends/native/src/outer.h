/* Weight gradients in float32: left^T right, summed over rows, a block of at most OUTER_ROWS of them at a time. */
#ifndef CELLSEARCH_OUTER_H
#define CELLSEARCH_OUTER_H

#include <string.h>

#include "format.h"
#include "product.h"
#include "threads.h"

/* Floats of scratch memory: the packed right factor, and packed columns of the left one. */
static int64_t outer_scratch(const Command *c) { return OUTER_ROWS * (panels(c->depth) * PANEL + OUTER_COLUMNS); }

/* Rows ``mine`` of the gradient [n, depth] of one weight: add left^T right (``start``: or begin with it), n being columns of the left
 * factor, from a block of at most OUTER_ROWS rows whose right factor is packed. */
static void outer_rows(const float *left, int64_t lead, int64_t rows, const float *packed, int64_t depth, float *gradient, int start, float *area,
                       Range mine) {
    /* A deep right factor reads the left one often: worth copying its columns side by side. */
    const int pack_left = depth >= 128;
    for (int64_t n = mine.from; n < mine.to; n += OUTER_COLUMNS) {
        const float *source = left + n;
        const int64_t columns = smaller(OUTER_COLUMNS, mine.to - n);
        if (pack_left)
            for (int64_t q = 0; q < columns; q += TILE) {
                float *to = area + q * rows;
                if (columns - q >= TILE)
                    for (int64_t r = 0; r < rows; r++) memcpy(to + r * TILE, source + r * lead + q, TILE * sizeof(float));
                else
                    for (int64_t r = 0; r < rows; r++) memcpy(to + r * (columns - q), source + r * lead + q, (columns - q) * sizeof(float));
            }
        for (int64_t k = 0; k < depth; k += PANEL) {
            float *target = gradient + n * depth + k;
            const int64_t width = smaller(PANEL, depth - k);
            if (!pack_left) {
                panel_product(TILE_COLUMNS, HALF_COLUMNS, columns, width, rows, source, 1, lead, packed + k * rows, packed, target, depth, start, 0);
                continue;
            }
            for (int64_t q = 0; q < columns; q += TILE) {
                const int64_t height = smaller(TILE, columns - q);
                panel_product(TILE_COLUMNS, HALF_COLUMNS, height, width, rows, area + q * rows, 1, height, packed + k * rows, packed,
                              target + q * depth, depth, start, 0);
            }
        }
    }
}

/* Some whole panels of a right factor of ``rows`` rows. */
static void pack_right(const float *source, int64_t stride, int64_t depth, int64_t rows, float *packed, Range mine) {
    for (int64_t k = mine.from; k < mine.to; k += PANEL) {
        const int64_t width = smaller(PANEL, depth - k);
        float *to = packed + k * rows;
        for (int64_t r = 0; r < rows; r++) {
            if (width == PANEL) {
                memcpy(to + r * PANEL, source + r * stride + k, PANEL * sizeof(float));
            } else {
                memcpy(to + r * PANEL, source + r * stride + k, width * sizeof(float));
                memset(to + r * PANEL + width, 0, (PANEL - width) * sizeof(float));
            }
        }
    }
}

#endif
