/* Functions of one number, written without branches so that the compiler turns loops over them into vector code.
 *
 * Relative error about 1e-7 against the exact value (tests/compiler/native/test_functions.py). NaN stays NaN: every clamp is a
 * comparison that is false for NaN. The polynomials are minimax fits in the sense of relative error, made for this file. */
#ifndef CELLSEARCH_FUNCTIONS_H
#define CELLSEARCH_FUNCTIONS_H

#include <math.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float from_bits(int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE int32_t to_bits(float value) {
    int32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* 2^k from the exponent's bits. Unsigned, because k is any number where x is NaN (the result is NaN by the other factor then). */
INLINE float power_of_two(uint32_t k) { return from_bits((int32_t)((k + 127u) << 23)); }

INLINE uint32_t steps_between(float shifted, float shift) { return (uint32_t)to_bits(shifted) - (uint32_t)to_bits(shift); }

/* exp(x) = 2^n exp(r), r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2]. Scaling in two halves keeps subnormal results and overflow right. */
INLINE float exp_f(float x) {
    float v = x < -104.0f ? -104.0f : x; /* exp is 0 below, and infinite above 88.8: n stays in [-150, 129] */
    v = v > 89.0f ? 89.0f : v;
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    float shifted = v * 1.44269504f + shift;
    float n = shifted - shift;
    float r = v - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    float p = 0.00138146128f;
    p = p * r + 0.00836871006f;
    p = p * r + 0.0416683890f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    uint32_t k = steps_between(shifted, shift);
    uint32_t half = (uint32_t)((int32_t)k >> 1);
    return p * power_of_two(half) * power_of_two(k - half);
}

/* 1 / (1 + exp(-x)) with a relative error that stays small where the value is small. The same reduction, but one scaling is enough. */
INLINE float sigmoid_f(float x) {
    float v = x < -88.5f ? -88.5f : x; /* there the scale is infinite, so the result is exactly 0 */
    v = v > 87.0f ? 87.0f : v;
    const float shift = 12582912.0f;
    float shifted = v * -1.44269504f + shift;
    float n = shifted - shift;
    float r = -v - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    float p = 8.31252616e-3f;
    p = p * r + 0.0418901145f;
    p = p * r + 0.166671142f;
    p = p * r + 0.499992311f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    return 1.0f / (1.0f + p * power_of_two(steps_between(shifted, shift)));
}

/* tanh(x) = x P(x^2) / Q(x^2) up to 9, where the float32 value is 1. */
INLINE float tanh_f(float x) {
    float v = x < -9.0f ? -9.0f : x;
    v = v > 9.0f ? 9.0f : v;
    float z = v * v;
    float p = 1.33547822e-8f;
    p = p * z + 2.0609179e-5f;
    p = p * z + 3.49559449e-3f;
    p = p * z + 0.133810312f;
    p = p * z + 1.0f;
    float q = 7.77661057e-7f;
    q = q * z + 3.28564492e-4f;
    q = q * z + 0.025877006f;
    q = q * z + 0.467143476f;
    q = q * z + 1.0f;
    float y = v * p / q;
    y = y > 1.0f ? 1.0f : y; /* rounding could leave [-1, 1] by one unit */
    return y < -1.0f ? -1.0f : y;
}

/* log(1 + u) for u in [0, 1] = 2 atanh(s), s = u / (2 + u). */
INLINE float log1p_f(float u) {
    float s = u / (2.0f + u);
    float z = s * s;
    float p = 0.140122294f;
    p = p * z + 0.139995710f;
    p = p * z + 0.200108498f;
    p = p * z + 0.333332062f;
    return 2.0f * s + 2.0f * s * (z * p);
}

INLINE float abs_f(float x) { return from_bits(to_bits(x) & 0x7fffffff); }

INLINE float softplus_f(float x) {
    float tail = log1p_f(exp_f(-abs_f(x)));
    float head = x < 0.0f ? 0.0f : x;
    return head + tail;
}

/* erf(x) = 1 - (a1 t + ... + a5 t^5) exp(-x^2), t = 1 / (1 + 0.3275911 |x|); Abramowitz & Stegun 1964, 7.1.26, absolute error 1.5e-7. */
INLINE float erf_f(float x) {
    float a = abs_f(x);
    float t = 1.0f / (1.0f + 0.3275911f * a);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float y = 1.0f - p * t * exp_f(-a * a);
    return x < 0.0f ? -y : y;
}

INLINE float gelu_f(float x) { return 0.5f * x * (1.0f + erf_f(x * 0.707106781f)); }
INLINE float silu_f(float x) { return x * sigmoid_f(x); }
INLINE float relu_f(float x) { return x < 0.0f ? 0.0f : x; }
INLINE float leaky_relu_f(float x) { return x < 0.0f ? 0.01f * x : x; }
INLINE float step_f(float x) { return x > 0.0f ? 1.0f : 0.0f; }
INLINE float sign_f(float x) { return (x > 0.0f ? 1.0f : 0.0f) - (x < 0.0f ? 1.0f : 0.0f); }
/* Like torch.maximum and torch.minimum: NaN if either operand is. */
INLINE float max_f(float a, float b) { return a != a ? a : (a > b ? a : b); }
INLINE float min_f(float a, float b) { return a != a ? a : (a < b ? a : b); }

/* sin(x + quarter * pi / 2) for |x| up to 8192: x = n pi / 2 + r, n exact, pi / 2 in three parts; above, callers use the C library. */
INLINE float sine_f(float x, uint32_t quarter) {
    const float shift = 12582912.0f;
    float shifted = x * 0.636619772f + shift;
    float n = shifted - shift;
    float r = x - n * 1.5703125f;
    r = r - n * 4.83751297e-4f;
    r = r - n * 7.54978995e-8f;
    r = r - n * 5.39030253e-15f;
    float z = r * r;
    float s = -1.95152959e-4f; /* sin r and cos r on [-pi / 4, pi / 4] */
    s = s * z + 8.33216087e-3f;
    s = s * z - 0.166666546f;
    s = r + r * z * s;
    float c = 2.44331571e-5f;
    c = c * z - 1.38873163e-3f;
    c = c * z + 4.16666457e-2f;
    c = 1.0f - 0.5f * z + z * z * c;
    uint32_t k = (uint32_t)to_bits(shifted) + quarter; /* the low two bits are the quadrant */
    float y = k & 1 ? c : s;
    return k & 2 ? -y : y;
}

#endif
