/* Functions of a vector of numbers. There is no branch in them, so a loop over them runs at the speed of the arithmetic.
 *
 * Relative error about 1e-7 against the exact value (tests/compiler/native/test_native_functions.py). NaN stays NaN: the clamps return
 * their second operand when it is NaN. The polynomials are minimax fits in the sense of relative error, made for this file. */
#ifndef CELLSEARCH_FUNCTIONS_H
#define CELLSEARCH_FUNCTIONS_H

#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define LANES 16
#define PATH "avx512"
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#define PATH "avx2"
#elif defined(__ARM_NEON)
#define LANES 4
#define PATH "neon"
#else
#define LANES 4
#define PATH "plain"
#endif

/* Memory may hold vectors at any multiple of four bytes, next to single floats. */
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t whole __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE float from_bits(int32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE vector splat(float x) { return (vector){0} + x; }
/* ``a`` where the mask is set, else ``b``. */
INLINE vector choose(whole mask, vector a, vector b) { return (vector)((mask & (whole)a) | (~mask & (whole)b)); }

/* The larger (smaller) one; ``b`` where either is NaN. Written with the instruction, because compilers make five of a comparison. */
INLINE vector above(vector a, vector b) {
#if defined(__AVX512F__)
    return (vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vector)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (vector)_mm_max_ps((__m128)a, (__m128)b);
#else
    return choose(a > b, a, b);
#endif
}

INLINE vector below(vector a, vector b) {
#if defined(__AVX512F__)
    return (vector)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vector)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
    return (vector)_mm_min_ps((__m128)a, (__m128)b);
#else
    return choose(a < b, a, b);
#endif
}

INLINE vector clamp(vector x, float low, float high) { return below(splat(high), above(splat(low), x)); }

INLINE vector sqrt_v(vector x) {
#if defined(__AVX512F__)
    return (vector)_mm512_sqrt_ps((__m512)x);
#elif LANES == 8
    return (vector)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
    return (vector)_mm_sqrt_ps((__m128)x);
#else
    for (int j = 0; j < LANES; j++) x[j] = sqrtf(x[j]);
    return x;
#endif
}

/* c + a * b, with one rounding where the processor has the instruction. Written with it, because a compiler may choose two roundings
 * where there is a single chain of sums (GCC does for AMD's Zen), and the bits would then depend on the height of a tile. */
INLINE vector add_product(vector c, float a, vector b) {
#if defined(__AVX512F__)
    return (vector)_mm512_fmadd_ps(_mm512_set1_ps(a), (__m512)b, (__m512)c);
#elif LANES == 8
    return (vector)_mm256_fmadd_ps(_mm256_set1_ps(a), (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vector)vfmaq_f32((float32x4_t)c, vdupq_n_f32(a), (float32x4_t)b);
#else
    return c + a * b;
#endif
}

/* 2^k from the exponent's bits; k = 128 gives infinity, and any k gives some number where x is NaN (the other factor is NaN then). */
INLINE vector power_of_two(whole k) { return (vector)((k + 127) << 23); }

#define SHIFT 12582912.0f /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
#define SHIFT_BITS 0x4b400000

/* The integer that was shifted. */
INLINE whole steps(vector shifted) { return (whole)shifted - SHIFT_BITS; }

/* exp(x) = 2^n exp(r), r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2]. Scaling in two halves keeps subnormal results and overflow right. */
INLINE vector exp_v(vector x) {
    vector v = clamp(x, -104.0f, 89.0f); /* exp is 0 below, and infinite above 88.8: n stays in [-150, 129] */
    vector shifted = v * 1.44269504f + SHIFT;
    vector n = shifted - SHIFT;
    vector r = v - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    vector p = 0.00138146128f * r + 0.00836871006f;
    p = p * r + 0.0416683890f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    whole k = steps(shifted);
    whole half = k >> 1;
    return p * power_of_two(half) * power_of_two(k - half);
}

/* 1 / (1 + exp(-x)) with a relative error that stays small where the value is small. The same reduction, but one scaling is enough. */
INLINE vector sigmoid_v(vector x) {
    vector v = clamp(x, -88.5f, 87.0f); /* at the low end the scale is infinite, so the result is exactly 0 */
    vector shifted = v * -1.44269504f + SHIFT;
    vector n = shifted - SHIFT;
    vector r = -v - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    vector p = 8.31252616e-3f * r + 0.0418901145f;
    p = p * r + 0.166671142f;
    p = p * r + 0.499992311f;
    p = p * (r * r) + r;
    p = p + 1.0f;
    return 1.0f / (1.0f + p * power_of_two(steps(shifted)));
}

/* tanh(x) = x P(x^2) / Q(x^2) up to 9, where the float32 value is 1. */
INLINE vector tanh_v(vector x) {
    vector v = clamp(x, -9.0f, 9.0f);
    vector z = v * v;
    vector p = 1.33547822e-8f * z + 2.0609179e-5f;
    p = p * z + 3.49559449e-3f;
    p = p * z + 0.133810312f;
    p = p * z + 1.0f;
    vector q = 7.77661057e-7f * z + 3.28564492e-4f;
    q = q * z + 0.025877006f;
    q = q * z + 0.467143476f;
    q = q * z + 1.0f;
    return clamp(v * p / q, -1.0f, 1.0f); /* rounding could leave [-1, 1] by one unit */
}

/* log(1 + u) for u in [0, 1] = 2 atanh(s), s = u / (2 + u). */
INLINE vector log1p_v(vector u) {
    vector s = u / (2.0f + u);
    vector z = s * s;
    vector p = 0.140122294f * z + 0.139995710f;
    p = p * z + 0.200108498f;
    p = p * z + 0.333332062f;
    return 2.0f * s + 2.0f * s * (z * p);
}

INLINE vector abs_v(vector x) { return (vector)((whole)x & 0x7fffffff); }

INLINE vector relu_v(vector x) { return above(splat(0.0f), x); }

INLINE vector hard_sigmoid_v(vector x) { return clamp(x + 3.0f, 0.0f, 6.0f) * 0.166666667f; }
INLINE vector hard_tanh_v(vector x) { return clamp(x, -1.0f, 1.0f); }
INLINE vector softsign_v(vector x) { return x / (1.0f + abs_v(x)); }

INLINE vector softplus_v(vector x) { return relu_v(x) + log1p_v(exp_v(-abs_v(x))); }

/* erf(x) = 1 - (a1 t + ... + a5 t^5) exp(-x^2), t = 1 / (1 + 0.3275911 |x|); Abramowitz & Stegun 1964, 7.1.26, absolute error 1.5e-7. */
INLINE vector erf_v(vector x) {
    vector a = abs_v(x);
    vector t = 1.0f / (1.0f + 0.3275911f * a);
    vector p = 1.061405429f * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    vector y = 1.0f - p * t * exp_v(-a * a);
    return choose(x < 0.0f, -y, y);
}

INLINE vector gelu_v(vector x) { return 0.5f * x * (1.0f + erf_v(x * 0.707106781f)); }
INLINE vector silu_v(vector x) { return x * sigmoid_v(x); }
INLINE vector leaky_relu_v(vector x) { return choose(x < 0.0f, 0.01f * x, x); }
INLINE vector step_v(vector x) { return choose(x > 0.0f, splat(1.0f), splat(0.0f)); }
INLINE vector sign_v(vector x) { return step_v(x) - choose(x < 0.0f, splat(1.0f), splat(0.0f)); }
/* Like torch.maximum and torch.minimum: NaN if either operand is. */
INLINE vector max_v(vector a, vector b) { return choose(a != a, a, above(a, b)); }
INLINE vector min_v(vector a, vector b) { return choose(a != a, a, below(a, b)); }

/* sin(x + quarter * pi / 2) for |x| up to 8192: x = n pi / 2 + r, n exact, pi / 2 in three parts; above, callers use the C library. */
INLINE vector sine_v(vector x, int quarter) {
    vector shifted = x * 0.636619772f + SHIFT;
    vector n = shifted - SHIFT;
    vector r = x - n * 1.5703125f;
    r = r - n * 4.83751297e-4f;
    r = r - n * 7.54978995e-8f;
    r = r - n * 5.39030253e-15f;
    vector z = r * r;
    vector s = -1.95152959e-4f * z + 8.33216087e-3f; /* sin r and cos r on [-pi / 4, pi / 4] */
    s = s * z - 0.166666546f;
    s = r + r * z * s;
    vector c = 2.44331571e-5f * z - 1.38873163e-3f;
    c = c * z + 4.16666457e-2f;
    c = 1.0f - 0.5f * z + z * z * c;
    whole k = (whole)shifted + quarter; /* the low two bits are the quadrant */
    vector y = choose((k & 1) != 0, c, s);
    return choose((k & 2) != 0, -y, y);
}

#endif
