/* The interpreter of pointwise stages: each instruction runs over a block of rows that stays in the first-level cache. */
#ifndef CELLSEARCH_POINTWISE_H
#define CELLSEARCH_POINTWISE_H

#include <string.h>

#include "format.h"
#include "product.h"

/* name, number of operands. The order is the numbering; bytecode.py reads the names from here (cellsearch_opcode). */
#define OPCODES(X)                                                                                                               \
    X(MOV, 1) X(SPLAT, 0) X(BROADCAST, 1)                                                                                        \
    X(ADD, 2) X(SUB, 2) X(MUL, 2) X(DIV, 2) X(MAX, 2) X(MIN, 2) X(BLEND, 3)                                                       \
    X(MUL_ADD, 3) X(MUL_SUB, 3) X(SUB_MUL, 3)                                                                                    \
    X(ADD_NUMBER, 1) X(MUL_NUMBER, 1) X(NUMBER_SUB, 1)                                                                           \
    X(NEG, 1) X(ABS, 1) X(SQUARE, 1) X(SQRT, 1) X(SIGN, 1) X(STEP_AT_0, 1)                                                        \
    X(SIGMOID, 1) X(TANH, 1) X(RELU, 1) X(LEAKY_RELU, 1) X(SILU, 1) X(GELU, 1) X(SOFTPLUS, 1) X(LOG_SIGMOID, 1)                   \
    X(EXP, 1) X(SIN, 1) X(COS, 1) X(ERF, 1)                                                                                      \
    X(SIGMOID_GRADIENT, 2) X(TANH_GRADIENT, 2) X(RELU_GRADIENT, 2)                                                               \
    X(LAYER_NORM, 1) X(LAYER_NORM_GRADIENT, 2)                                                                                   \
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

#define MAX_OPERANDS 512 /* of one command */
#define MAX_REGISTERS 256

INLINE float sum_lanes(vector v) {
    float sum = 0.0f;
    for (int j = 0; j < LANES; j++) sum += v[j];
    return sum;
}

/* sum over j of (a[j] - shift) * (b[j] - shift_b), or of a[j] - shift alone if b is NULL; the order of additions is fixed. */
INLINE float sum_row(const float *a, float shift, const float *b, float shift_b, int64_t n) {
    vector sums = {0};
    float rest = 0.0f;
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        vector v = *(const vector *)(a + j) - shift;
        if (b) v *= *(const vector *)(b + j) - shift_b;
        sums += v;
    }
    for (; j < n; j++) rest += b ? (a[j] - shift) * (b[j] - shift_b) : a[j] - shift;
    return sum_lanes(sums) + rest;
}

static void row_statistics(const float *a, int64_t n, float *mean, float *rate) {
    *mean = sum_row(a, 0.0f, 0, 0.0f, n) / (float)n;
    *mean += sum_row(a, *mean, 0, 0.0f, n) / (float)n; /* a row of equal values has variance 0, and its rate of 316 magnifies rounding */
    *rate = 1.0f / sqrtf(sum_row(a, *mean, a, *mean, n) / (float)n + 1e-5f);
}

static void layer_norm_row(float *d, const float *a, int64_t n) {
    float mean, rate;
    row_statistics(a, n, &mean, &rate);
    for (int64_t j = 0; j < n; j++) d[j] = (a[j] - mean) * rate;
}

/* With y = (a - mean) * rate: rate * (g - mean(g) - y * mean(g y)). */
static void layer_norm_gradient_row(float *d, const float *g, const float *a, int64_t n) {
    float mean, rate;
    row_statistics(a, n, &mean, &rate);
    float mean_g = sum_row(g, 0.0f, 0, 0.0f, n) / (float)n;
    float mean_gy = rate * sum_row(g, 0.0f, a, mean, n) / (float)n;
    for (int64_t j = 0; j < n; j++) d[j] = rate * (g[j] - mean_g - (a[j] - mean) * rate * mean_gy);
}

/* d[j] += sum over rows of a[row, j] (times b[row, j]): first within the block, so that long sums stay accurate. */
static void total_rows(float *d, Rows a, const Rows *b, int64_t rows, int64_t width) {
    for (int64_t j0 = 0; j0 < width; j0 += 64) {
        float sums[64] = {0};
        int64_t n = smaller(64, width - j0);
        for (int64_t r = 0; r < rows; r++) {
            const float *p = a.at + r * a.stride + j0;
            if (b) {
                const float *q = b->at + r * b->stride + j0;
                for (int64_t j = 0; j < n; j++) sums[j] += p[j] * q[j];
            } else {
                for (int64_t j = 0; j < n; j++) sums[j] += p[j];
            }
        }
        for (int64_t j = 0; j < n; j++) d[j0 + j] += sums[j];
    }
}

static void sine_rows(float *d, const float *a, int64_t n, uint32_t quarter) {
    int far = 0;
    for (int64_t j = 0; j < n; j++) far |= abs_f(a[j]) > 8192.0f;
    if (far)
        for (int64_t j = 0; j < n; j++) d[j] = quarter ? cosf(a[j]) : sinf(a[j]);
    else
#pragma GCC ivdep
        for (int64_t j = 0; j < n; j++) d[j] = sine_f(a[j], quarter);
}

/* Each case runs its expression over all numbers of the block. Destination and operands may be the same place, never shifted. */
#define EACH(expression)                                                                                                \
    for (int64_t r = 0; r < rows; r++) {                                                                                \
        float *d = D.at + r * D.stride;                                                                                 \
        const float *a = A.at + r * A.stride, *b = B.at + r * B.stride, *c = C.at + r * C.stride;                       \
        (void)a, (void)b, (void)c;                                                                                      \
        _Pragma("GCC ivdep") for (int64_t j = 0; j < width; j++) d[j] = (expression);                                   \
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
    case OP_MOV: EACH(a[j]);
    case OP_SPLAT: EACH(number);
    case OP_BROADCAST: EACH(a[0]);
    case OP_ADD: EACH(a[j] + b[j]);
    case OP_SUB: EACH(a[j] - b[j]);
    case OP_MUL: EACH(a[j] * b[j]);
    case OP_DIV: EACH(a[j] / b[j]);
    case OP_MAX: EACH(max_f(a[j], b[j]));
    case OP_MIN: EACH(min_f(a[j], b[j]));
    case OP_BLEND: EACH(a[j] * b[j] + (1.0f - a[j]) * c[j]);
    case OP_MUL_ADD: EACH(a[j] * b[j] + c[j]);
    case OP_MUL_SUB: EACH(a[j] * b[j] - c[j]);
    case OP_SUB_MUL: EACH(c[j] - a[j] * b[j]);
    case OP_ADD_NUMBER: EACH(a[j] + number);
    case OP_MUL_NUMBER: EACH(a[j] * number);
    case OP_NUMBER_SUB: EACH(number - a[j]);
    case OP_NEG: EACH(-a[j]);
    case OP_ABS: EACH(abs_f(a[j]));
    case OP_SQUARE: EACH(a[j] * a[j]);
    case OP_SQRT: EACH(sqrtf(a[j]));
    case OP_SIGN: EACH(sign_f(a[j]));
    case OP_STEP_AT_0: EACH(step_f(a[j]));
    case OP_SIGMOID: EACH(sigmoid_f(a[j]));
    case OP_TANH: EACH(tanh_f(a[j]));
    case OP_RELU: EACH(relu_f(a[j]));
    case OP_LEAKY_RELU: EACH(leaky_relu_f(a[j]));
    case OP_SILU: EACH(silu_f(a[j]));
    case OP_GELU: EACH(gelu_f(a[j]));
    case OP_SOFTPLUS: EACH(softplus_f(a[j]));
    case OP_LOG_SIGMOID: EACH(-softplus_f(-a[j]));
    case OP_EXP: EACH(exp_f(a[j]));
    case OP_ERF: EACH(erf_f(a[j]));
    case OP_SIGMOID_GRADIENT: EACH(a[j] * (b[j] * (1.0f - b[j])));
    case OP_TANH_GRADIENT: EACH(a[j] * (1.0f - b[j] * b[j]));
    case OP_RELU_GRADIENT: EACH(a[j] * step_f(b[j]));
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
    case OP_TOTAL: total_rows(D.at, A, 0, rows, width); break;
    case OP_TOTAL_MUL: total_rows(D.at, A, &B, rows, width); break;
    case OP_FOLD: {
        float sum = sum_row(A.at, 0.0f, 0, 0.0f, width);
        for (int64_t j = 0; j < width; j++) D.at[j] = sum;
        break;
    }
    }
}

#endif
