/* Registers of floats, for one LEVEL of processors. */

#define INLINE static inline __attribute__((always_inline)) TARGET
#define VECTOR (LEVEL == 2 ? 64 : LEVEL == 1 ? 32 : 16)
#define WIDE (VECTOR / 4) /* floats in a register */

typedef float NAME(floats) __attribute__((vector_size(VECTOR)));
typedef int32_t NAME(ints) __attribute__((vector_size(VECTOR)));
typedef uint32_t NAME(uints) __attribute__((vector_size(VECTOR)));
#define floats NAME(floats)
#define ints NAME(ints)
#define uints NAME(uints)

INLINE floats NAME(load)(const void *from) {
  floats value;
  memcpy(&value, from, sizeof value);
  return value;
}

/* A register of stored values at `from`, times their `scale` if they are int8. */
INLINE floats NAME(values)(int type, const void *from, const float *scale) {
  if (type == F32) return NAME(load)(from);
#if LEVEL == 2
  if (type == F16) return _mm512_cvtph_ps(_mm256_loadu_si256(from));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from))) * NAME(load)(scale);
#elif LEVEL == 1
  if (type == F16) return _mm256_cvtph_ps(_mm_loadu_si128(from));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from))) * NAME(load)(scale);
#else
  floats value;
  if (type == F16)
    for (int i = 0; i < WIDE; i++) value[i] = from_half(((const uint16_t *)from)[i]);
  else
    for (int i = 0; i < WIDE; i++) value[i] = ((const int8_t *)from)[i] * scale[i];
  return value;
#endif
}

/* x * y + z, rounded once. */
INLINE floats NAME(fused)(floats x, floats y, floats z) {
#if LEVEL == 2
  return _mm512_fmadd_ps(x, y, z);
#elif LEVEL == 1
  return _mm256_fmadd_ps(x, y, z);
#else
  floats value;
  for (int i = 0; i < WIDE; i++) value[i] = fused(x[i], y[i], z[i]);
  return value;
#endif
}
