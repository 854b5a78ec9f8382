/* Blobs with their channels innermost, 16 at a time, for one LEVEL of processors. */

#define LINE (16 / WIDE) /* registers of 16 channels */

INLINE floats NAME(get)(int type, const char *from) {
  if (type == F32) return NAME(load)(from);
#if LEVEL == 2
  return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((void *)from)), 16);
#elif LEVEL == 1
  return (floats)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((void *)from)), 16);
#else
  uints bits;
  for (int i = 0; i < WIDE; i++) bits[i] = (uint32_t)((const uint16_t *)from)[i] << 16;
  return (floats)bits;
#endif
}

/* To the nearest value of the type, of two the even one. */
INLINE void NAME(put)(int type, floats value, char *to) {
  if (type == F32) {
    memcpy(to, &value, sizeof value);
    return;
  }
  uints bits = (uints)value;
  bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#if LEVEL == 2
  _mm256_storeu_si256((void *)to, _mm512_cvtepi32_epi16((__m512i)bits));
#else
  uint16_t half[WIDE];
  for (int i = 0; i < WIDE; i++) half[i] = (uint16_t)bits[i];
  memcpy(to, half, sizeof half);
#endif
}

INLINE int NAME(bytes)(int type) { return type == F32 ? 4 : 2; }
