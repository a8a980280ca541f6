/* The interpreter of pointwise stages: each instruction runs over a block of rows that stays in the first-level cache. */
#ifndef CELLSEARCH_POINTWISE_H
#define CELLSEARCH_POINTWISE_H

#include <string.h>

#include "format.h"
#include "product.h"

/* name, number of operands. The order is the numbering; bytecode.py reads the names from here (cellsearch_opcode). */
#define OPCODES(X)                                                                                                               \
    X(MOV, 1) X(SPLAT, 0) X(BROADCAST, 1)                                                                                        \
    X(ADD, 2) X(SUB, 2) X(MUL, 2) X(DIV, 2) X(MAX, 2) X(MIN, 2) X(BLEND, 3) X(RESTART, 3)                                         \
    X(MUL_ADD, 3) X(MUL_SUB, 3) X(SUB_MUL, 3)                                                                                    \
    X(ADD_NUMBER, 1) X(MUL_NUMBER, 1) X(NUMBER_SUB, 1)                                                                           \
    X(NEG, 1) X(ABS, 1) X(SQUARE, 1) X(SQRT, 1) X(SIGN, 1) X(STEP_AT_0, 1)                                                        \
    X(SIGMOID, 1) X(TANH, 1) X(RELU, 1) X(LEAKY_RELU, 1) X(SILU, 1) X(GELU, 1) X(SOFTPLUS, 1) X(LOG_SIGMOID, 1)                   \
    X(HARD_SIGMOID, 1) X(HARD_TANH, 1) X(SOFTSIGN, 1)                                                                            \
    X(EXP, 1) X(SIN, 1) X(COS, 1) X(ERF, 1)                                                                                      \
    X(SIGMOID_GRADIENT, 2) X(TANH_GRADIENT, 2) X(RELU_GRADIENT, 2)                                                               \
    X(MUL_SIGMOID_GRADIENT, 3) X(MUL_TANH_GRADIENT, 3) X(MUL_RELU_GRADIENT, 3) X(MAX_GRADIENT, 3)                                \
    X(LAYER_NORM, 1) X(LAYER_NORM_GRADIENT, 2) X(UNIT, 1) X(UNIT_GRADIENT, 2)                                                    \
    X(HEAD_NORM, 1) X(HEAD_NORM_GRADIENT, 2) X(TURN, 1) X(TWICE, 1) X(PAIRS, 1)                                                   \
    X(TOTAL, 1) X(TOTAL_MUL, 2) X(FOLD, 1)

#define OPCODE_ENUM(name, operands) OP_##name,
#define OPCODE_NAME(name, operands) #name,
#define OPCODE_OPERANDS(name, operands) operands,
enum { OPCODES(OPCODE_ENUM) OPCODE_COUNT };
static const char *const OPCODE_NAMES[] = {OPCODES(OPCODE_NAME)};
static const int OPCODE_ARITY[] = {OPCODES(OPCODE_OPERANDS)};

typedef struct {
    float *at;
    int64_t stride;
} Rows;

/* How many columns an instruction over ``width`` of them reads of its operand ``a``. */
INLINE int64_t columns_read(int64_t op, int64_t width) { return op == OP_TWICE ? (width + 1) / 2 : op == OP_PAIRS ? 2 * width : width; }

#define MAX_OPERANDS 512 /* of one command */
#define MAX_REGISTERS 256

/* Columns [j, j + LANES) of a row; of the last ones only ``n`` exist, the others count as 0 and are not written. */
INLINE vector load(const float *p) { return *(const vector *)p; }

#if defined(__AVX512F__)
INLINE vector load_part(const float *p, int64_t n) { return (vector)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }

INLINE void store_part(float *p, vector v, int64_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
#else
INLINE vector load_part(const float *p, int64_t n) {
    vector v = {0};
    for (int64_t k = 0; k < n; k++) v[k] = p[k];
    return v;
}

INLINE void store_part(float *p, vector v, int64_t n) {
    for (int64_t k = 0; k < n; k++) p[k] = v[k];
}
#endif

/* The numbers of a vector in pairs, the sums in pairs, and so on: a fixed order, and a short chain of additions. */
INLINE float sum_lanes(vector v) {
    float sums[LANES];
    for (int j = 0; j < LANES; j++) sums[j] = v[j];
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int j = 0; j < half; j++) sums[j] += sums[j + half];
    return sums[0];
}

INLINE float sum_row(const float *a, int64_t n) {
    vector sums = {0};
    float rest = 0.0f;
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) sums += load(a + j);
    for (; j < n; j++) rest += a[j];
    return sum_lanes(sums) + rest;
}

/* Of a row a: its mean and 1 / sqrt(variance + 1e-5). With gradients g: their mean, and the mean of g * (a - mean) * rate. */
typedef struct {
    float mean, rate, g, gy;
} Statistics;

/* Two passes: deviations from a first mean, whose own mean corrects it. A row of equal values has variance 0, and its rate of 316
 * magnifies every rounding. */
INLINE Statistics row_statistics(const float *a, const float *g, int64_t n) {
    const float size = (float)n, first = sum_row(a, n) / size;
    vector d1 = {0}, d2 = {0}, g1 = {0}, gd = {0};
    float s1 = 0.0f, s2 = 0.0f, sg = 0.0f, sgd = 0.0f;
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        const vector d = load(a + j) - first;
        d1 += d;
        d2 += d * d;
        if (g) {
            const vector v = load(g + j);
            g1 += v;
            gd += v * d;
        }
    }
    for (; j < n; j++) {
        const float d = a[j] - first;
        s1 += d;
        s2 += d * d;
        if (g) sg += g[j], sgd += g[j] * d;
    }
    const float shift = (s1 + sum_lanes(d1)) / size;
    Statistics found = {first + shift, 1.0f / sqrtf((s2 + sum_lanes(d2)) / size - shift * shift + 1e-5f), 0.0f, 0.0f};
    if (g) {
        sg += sum_lanes(g1);
        found.g = sg / size;
        found.gy = found.rate * (sgd + sum_lanes(gd) - shift * sg) / size;
    }
    return found;
}

static void layer_norm_row(float *d, const float *a, int64_t n) {
    const Statistics s = row_statistics(a, 0, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; j++) d[j] = (a[j] - s.mean) * s.rate;
}

/* With y = (a - mean) * rate: rate * (g - mean(g) - y * mean(g y)). */
static void layer_norm_gradient_row(float *d, const float *g, const float *a, int64_t n) {
    const Statistics s = row_statistics(a, g, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; j++) d[j] = s.rate * (g[j] - s.g - (a[j] - s.mean) * s.rate * s.gy);
}

INLINE float dot_row(const float *a, const float *b, int64_t n) {
    vector sums = {0};
    float rest = 0.0f;
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) sums += load(a + j) * load(b + j);
    for (; j < n; j++) rest += a[j] * b[j];
    return sum_lanes(sums) + rest;
}

/* One over the length of a row, 0 where that is 0. */
INLINE float row_rate(const float *a, int64_t n) {
    const float square = dot_row(a, a, n);
    return square == 0.0f ? 0.0f : 1.0f / sqrtf(square);
}

static void unit_row(float *d, const float *a, int64_t n) {
    const float rate = row_rate(a, n);
#pragma GCC ivdep
    for (int64_t j = 0; j < n; j++) d[j] = a[j] * rate;
}

/* With y = a * rate: rate * (g - y * sum(g y)). */
static void unit_gradient_row(float *d, const float *g, const float *a, int64_t n) {
    const float rate = row_rate(a, n), gy = dot_row(g, a, n) * rate;
#pragma GCC ivdep
    for (int64_t j = 0; j < n; j++) d[j] = rate * (g[j] - a[j] * rate * gy);
}

/* Pairs as complex numbers times i; of an odd row the last number stays alone. */
static void turn_row(float *d, const float *a, int64_t n) {
#pragma GCC ivdep
    for (int64_t j = 0; j < n / 2; j++) {
        const float re = a[2 * j], im = a[2 * j + 1];
        d[2 * j] = -im;
        d[2 * j + 1] = re;
    }
}

/* Each number twice, n in all; and the sums of n pairs. The rows lie apart: they are of two widths. */
static void twice_row(float *restrict d, const float *restrict a, int64_t n) {
    for (int64_t j = 0; j < n / 2; j++) d[2 * j] = d[2 * j + 1] = a[j];
}

static void pairs_row(float *restrict d, const float *restrict a, int64_t n) {
    for (int64_t j = 0; j < n; j++) d[j] = a[2 * j] + a[2 * j + 1];
}

#define SUM_VECTORS 4 /* accumulators at a time: enough to hide the latency of an addition */

/* d[j] += sum over rows of a[row, j] (times b[row, j]): first within the block, so that long sums stay accurate. */
INLINE void total_columns(float *d, Rows a, const Rows *b, int64_t rows, const int vectors) {
    vector sums[SUM_VECTORS] = {{0}};
    for (int64_t r = 0; r < rows; r++) {
        const float *p = a.at + r * a.stride, *q = b ? b->at + r * b->stride : 0;
#pragma GCC unroll 4
        for (int k = 0; k < vectors; k++) {
            vector v = load(p + k * LANES);
            if (b) v *= load(q + k * LANES);
            sums[k] += v;
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < vectors; k++) *(vector *)(d + k * LANES) = load(d + k * LANES) + sums[k];
}

INLINE void total_rows(float *d, Rows a, const Rows *b, int64_t rows, int64_t width) {
    Rows left = a, right = b ? *b : a;
    int64_t j = 0;
    for (; j < width; j += width - j >= SUM_VECTORS * LANES ? SUM_VECTORS * LANES : LANES) {
        left.at = a.at + j;
        right.at = b ? b->at + j : 0;
        if (width - j >= SUM_VECTORS * LANES) total_columns(d + j, left, b ? &right : 0, rows, SUM_VECTORS);
        else if (width - j >= LANES) total_columns(d + j, left, b ? &right : 0, rows, 1);
        else break;
    }
    if (j < width) {
        float sums[LANES] = {0};
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; j + k < width; k++) sums[k] += b ? a.at[r * a.stride + j + k] * b->at[r * b->stride + j + k] : a.at[r * a.stride + j + k];
        for (int64_t k = 0; j + k < width; k++) d[j + k] += sums[k];
    }
}

/* Far from 0 the reduction of the vector function is not exact; such numbers, and only these, are left to the C library. */
static void sine_rows(float *d, const float *a, int64_t n, int quarter) {
    for (int64_t j = 0; j < n; j += LANES) {
        const int64_t count = smaller(LANES, n - j);
        const vector x = count == LANES ? load(a + j) : load_part(a + j, count);
        vector y = sine_v(x, quarter);
        int far = 0;
        for (int k = 0; k < LANES; k++) far |= fabsf(x[k]) > 8192.0f;
        for (int k = 0; far && k < LANES; k++)
            if (fabsf(x[k]) > 8192.0f) y[k] = quarter ? cosf(x[k]) : sinf(x[k]);
        if (count == LANES) *(vector *)(d + j) = y;
        else store_part(d + j, y, count);
    }
}

/* Each case runs its expression over all numbers of the block. Destination and operands may be the same place, never shifted.
 *
 * Where the width is not a multiple of LANES, the last vector overlaps the one before it: it is computed first, from operands that nothing
 * has been written over yet, and stored last. Rows shorter than a vector are filled up with zeros. */
#define EACH(expression)                                                                                                \
    for (int64_t r = 0; r < rows; r++) {                                                                                \
        float *to = D.at + r * D.stride;                                                                                \
        const float *pa = A.at + r * A.stride, *pb = B.at + r * B.stride, *pc = C.at + r * C.stride;                    \
        const int64_t whole_width = width - width % LANES, last = width - LANES;                                        \
        vector tail = {0};                                                                                              \
        if (whole_width < width && last >= 0) {                                                                         \
            const vector a = load(pa + last), b = load(pb + last), c = load(pc + last);                                 \
            (void)a, (void)b, (void)c;                                                                                  \
            tail = (expression);                                                                                        \
        } else if (last < 0) {                                                                                          \
            const vector a = load_part(pa, width), b = load_part(pb, width), c = load_part(pc, width);                  \
            (void)a, (void)b, (void)c;                                                                                  \
            tail = (expression);                                                                                        \
        }                                                                                                               \
        for (int64_t j = 0; j < whole_width; j += LANES) {                                                              \
            const vector a = load(pa + j), b = load(pb + j), c = load(pc + j);                                          \
            (void)a, (void)b, (void)c;                                                                                  \
            *(vector *)(to + j) = (expression);                                                                         \
        }                                                                                                               \
        if (last < 0) store_part(to, tail, width);                                                                      \
        else if (whole_width < width) *(vector *)(to + last) = tail;                                                    \
    }                                                                                                                   \
    break

static void run_instruction(const Instruction *in, const Rows *at, int64_t rows, int64_t width) {
    const Rows D = at[in->d], A = at[in->a], B = at[in->b], C = at[in->c];
    const float number = from_bits((int32_t)in->number);
    if (in->op < OP_LAYER_NORM && D.stride == width && A.stride == width && B.stride == width && C.stride == width) {
        width *= rows; /* all numbers of the block lie side by side */
        rows = 1;
    }
    switch (in->op) {
    case OP_MOV: EACH(a);
    case OP_SPLAT: EACH(splat(number));
    case OP_BROADCAST: EACH(splat(pa[0]));
    case OP_ADD: EACH(a + b);
    case OP_SUB: EACH(a - b);
    case OP_MUL: EACH(a * b);
    case OP_DIV: EACH(a / b);
    case OP_MAX: EACH(max_v(a, b));
    case OP_MIN: EACH(min_v(a, b));
    case OP_BLEND: EACH(a * b + (1.0f - a) * c);
    case OP_RESTART: EACH(choose(a > 0.0f, b, c));
    case OP_MUL_ADD: EACH(a * b + c);
    case OP_MUL_SUB: EACH(a * b - c);
    case OP_SUB_MUL: EACH(c - a * b);
    case OP_ADD_NUMBER: EACH(a + number);
    case OP_MUL_NUMBER: EACH(a * number);
    case OP_NUMBER_SUB: EACH(number - a);
    case OP_NEG: EACH(-a);
    case OP_ABS: EACH(abs_v(a));
    case OP_SQUARE: EACH(a * a);
    case OP_SQRT: EACH(sqrt_v(a));
    case OP_SIGN: EACH(sign_v(a));
    case OP_STEP_AT_0: EACH(step_v(a));
    case OP_SIGMOID: EACH(sigmoid_v(a));
    case OP_TANH: EACH(tanh_v(a));
    case OP_RELU: EACH(relu_v(a));
    case OP_HARD_SIGMOID: EACH(hard_sigmoid_v(a));
    case OP_HARD_TANH: EACH(hard_tanh_v(a));
    case OP_SOFTSIGN: EACH(softsign_v(a));
    case OP_LEAKY_RELU: EACH(leaky_relu_v(a));
    case OP_SILU: EACH(silu_v(a));
    case OP_GELU: EACH(gelu_v(a));
    case OP_SOFTPLUS: EACH(softplus_v(a));
    case OP_LOG_SIGMOID: EACH(-softplus_v(-a));
    case OP_EXP: EACH(exp_v(a));
    case OP_ERF: EACH(erf_v(a));
    case OP_SIGMOID_GRADIENT: EACH(a * (b * (1.0f - b)));
    case OP_TANH_GRADIENT: EACH(a * (1.0f - b * b));
    case OP_RELU_GRADIENT: EACH(a * step_v(b));
    case OP_MUL_SIGMOID_GRADIENT: EACH(a * b * (c * (1.0f - c)));
    case OP_MUL_TANH_GRADIENT: EACH(a * b * (1.0f - c * c));
    case OP_MUL_RELU_GRADIENT: EACH(a * b * step_v(c));
    case OP_MAX_GRADIENT: EACH(a * (1.0f + sign_v(b - c)) * 0.5f);
    case OP_SIN:
        for (int64_t r = 0; r < rows; r++) sine_rows(D.at + r * D.stride, A.at + r * A.stride, width, 0);
        break;
    case OP_COS:
        for (int64_t r = 0; r < rows; r++) sine_rows(D.at + r * D.stride, A.at + r * A.stride, width, 1);
        break;
    case OP_LAYER_NORM:
        for (int64_t r = 0; r < rows; r++) layer_norm_row(D.at + r * D.stride, A.at + r * A.stride, width);
        break;
    case OP_LAYER_NORM_GRADIENT:
        for (int64_t r = 0; r < rows; r++) layer_norm_gradient_row(D.at + r * D.stride, A.at + r * A.stride, B.at + r * B.stride, width);
        break;
    case OP_UNIT:
        for (int64_t r = 0; r < rows; r++) unit_row(D.at + r * D.stride, A.at + r * A.stride, width);
        break;
    case OP_UNIT_GRADIENT:
        for (int64_t r = 0; r < rows; r++) unit_gradient_row(D.at + r * D.stride, A.at + r * A.stride, B.at + r * B.stride, width);
        break;
    case OP_HEAD_NORM:
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0, n = width / (int64_t)number; k < width; k += n) layer_norm_row(D.at + r * D.stride + k, A.at + r * A.stride + k, n);
        break;
    case OP_HEAD_NORM_GRADIENT:
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0, n = width / (int64_t)number; k < width; k += n)
                layer_norm_gradient_row(D.at + r * D.stride + k, A.at + r * A.stride + k, B.at + r * B.stride + k, n);
        break;
    case OP_TURN:
        for (int64_t r = 0; r < rows; r++) turn_row(D.at + r * D.stride, A.at + r * A.stride, width);
        break;
    case OP_TWICE:
        for (int64_t r = 0; r < rows; r++) twice_row(D.at + r * D.stride, A.at + r * A.stride, width);
        break;
    case OP_PAIRS:
        for (int64_t r = 0; r < rows; r++) pairs_row(D.at + r * D.stride, A.at + r * A.stride, width);
        break;
    case OP_TOTAL: total_rows(D.at, A, 0, rows, width); break;
    case OP_TOTAL_MUL: total_rows(D.at, A, &B, rows, width); break;
    case OP_FOLD: {
        const float sum = sum_row(A.at, width);
        for (int64_t j = 0; j < width; j++) D.at[j] = sum;
        break;
    }
    }
}

#endif
