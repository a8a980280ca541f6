/* Logits of a readout, their cross entropy, and its gradients, in one pass over blocks of rows: the logits of a block stay in the
 * second-level cache, and those of all rows never exist together.
 *
 * Of row i with target c the loss is log(sum over j of exp(x_j - most)) - (x_c - most), most = max x; its gradient by x_j is
 * exp(x_j - most) / sum, less 1 where j = c. Gradients are of the sum of all losses. */
#ifndef CELLSEARCH_LOSS_H
#define CELLSEARCH_LOSS_H

#include "outer.h"
#include "pointwise.h"

/* Logits that exist at a time, but those of LEAST_ROWS rows: each block reads a weight twice, and its gradient. */
#define LOGITS (48 << 10)
#define LEAST_ROWS 96

/* Where things lie in the scratch memory, in floats. */
typedef struct {
    int64_t rows, stride;                  /* of a block of logits */
    int64_t logits, bias, up, down, right; /* logits; bias, weight for the logits, weight for gradients; packed hidden rows */
    int64_t area, floats;                  /* packed columns of the logits; all */
} LossPlan;

static LossPlan plan_loss(int64_t depth, int64_t classes) {
    LossPlan plan = {.stride = (classes + LANES - 1) / LANES * LANES};
    plan.rows = smaller(OUTER_ROWS, LOGITS / plan.stride > LEAST_ROWS ? LOGITS / plan.stride : LEAST_ROWS);
    plan.bias = plan.rows * plan.stride;
    plan.up = plan.bias + plan.stride;
    plan.down = plan.up + panels(classes) * PANEL * depth;
    plan.right = plan.down + panels(depth) * PANEL * classes;
    plan.area = plan.right + plan.rows * panels(depth) * PANEL;
    plan.floats = plan.area + plan.rows * OUTER_COLUMNS;
    return plan;
}

static int check_loss(const Loss *loss) {
    const int64_t limit = INT64_C(1) << 31;
    if (loss->format != FORMAT) return BAD_FORMAT;
    if (loss->rows < 0 || loss->depth < 1 || loss->classes < 1 || loss->rows > limit || loss->depth > limit || loss->classes > limit) return BAD_SIZE;
    if (loss->depth > (INT64_C(1) << 40) / loss->classes || loss->rows > (INT64_C(1) << 40) / loss->depth) return BAD_SIZE;
    if (!loss->weight || !loss->total || (loss->rows && (!loss->hidden || !loss->target))) return BAD_BUFFER;
    if (!loss->d_weight != !loss->d_bias || (loss->rows && !loss->d_hidden != !loss->d_weight)) return BAD_BUFFER;
    if (!loss->scratch || loss->scratch_floats < plan_loss(loss->depth, loss->classes).floats) return BAD_SCRATCH;
    for (int64_t i = 0; i < loss->rows; i++)
        if (loss->target[i] < -1 || loss->target[i] >= loss->classes) return BAD_TOKEN;
    return OK;
}

/* The loss of a row of logits that ends with columns of -infinity; with ``gradient`` the row becomes its own gradient. */
static float row_loss(float *row, int64_t stride, int64_t target, int gradient) {
    vector most = load(row), sums = {0};
    for (int64_t j = LANES; j < stride; j += LANES) most = above(most, load(row + j));
    float top = most[0], sum;
    for (int k = 1; k < LANES; k++) top = most[k] > top ? most[k] : top;
    const float chosen = row[target] - top;
    for (int64_t j = 0; j < stride; j += LANES) {
        const vector y = exp_v(load(row + j) - top);
        sums += y;
        if (gradient) *(vector *)(row + j) = y;
    }
    sum = sum_lanes(sums);
    if (gradient) {
        const float rate = 1.0f / sum;
        for (int64_t j = 0; j < stride; j += LANES) *(vector *)(row + j) = load(row + j) * rate;
        row[target] -= 1.0f;
    }
    return logf(sum) - chosen;
}

/* A block of rows from ``first`` on; the sum of its losses. */
static double block_loss(const Loss *loss, const LossPlan *plan, int64_t first, int64_t rows) {
    const int64_t depth = loss->depth, classes = loss->classes, stride = plan->stride;
    const float *hidden = loss->hidden + first * depth;
    float *logits = loss->scratch + plan->logits, *packed = loss->scratch + plan->right;
    double total = 0.0;
    /* Whole vectors: the weights beyond the classes are 0, their bias is -infinity. */
    product(rows, stride, depth, hidden, depth, loss->scratch + plan->up, logits, stride, START_BIAS, loss->scratch + plan->bias,
            stride * depth > NEAR_FLOATS);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t target = loss->target[first + i];
        if (target >= 0) total += row_loss(logits + i * stride, stride, target, loss->d_weight != 0);
        else memset(logits + i * stride, 0, stride * sizeof(float));
    }
    if (!loss->d_weight) return total;
    product(rows, depth, classes, logits, stride, loss->scratch + plan->down, loss->d_hidden + first * depth, depth, START_ZERO, 0,
            depth * classes > NEAR_FLOATS);
    pack_right(hidden, depth, depth, rows, packed, (Range){0, depth});
    outer_rows(logits, stride, rows, packed, depth, loss->d_weight, first ? START_RESULT : START_ZERO, loss->scratch + plan->area,
               (Range){0, classes});
    total_rows(loss->d_bias, (Rows){logits, stride}, 0, rows, classes);
    return total;
}

static void run_loss(const Loss *loss) {
    const int64_t depth = loss->depth, classes = loss->classes;
    const LossPlan plan = plan_loss(depth, classes);
    float *bias = loss->scratch + plan.bias;
    for (int64_t j = 0; j < plan.stride; j++) bias[j] = j >= classes ? -INFINITY : loss->bias ? loss->bias[j] : 0.0f;
    pack_weight(loss->weight, depth, 1, depth, classes, 0, 0, depth, loss->scratch + plan.up);
    pack_edge(depth, classes, loss->scratch + plan.up);
    if (loss->d_weight) {
        pack_weight(loss->weight, depth, 0, classes, depth, 0, 0, classes, loss->scratch + plan.down);
        pack_edge(classes, depth, loss->scratch + plan.down);
        memset(loss->d_bias, 0, classes * sizeof(float));
        if (!loss->rows) memset(loss->d_weight, 0, classes * depth * sizeof(float));
    }
    *loss->total = 0.0;
    for (int64_t first = 0; first < loss->rows; first += plan.rows)
        *loss->total += block_loss(loss, &plan, first, smaller(plan.rows, loss->rows - first));
}

#endif
