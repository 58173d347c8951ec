/* Two loops over pages, which NumPy and OpenSSL take several times as long for: PostgreSQL's checksum, and AES-GMAC.
 *
 * No Python in here: compiled.py calls these functions by ctypes, which lets go of the interpreter's lock meanwhile. The
 * pages lie one after another, and `size` is a multiple of 128 bytes. Words are little-endian.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SUMS 32
#define PRIME 16777619u

/* One copy for AVX2 and one for any processor; the loader picks. Sanitizers start too late for that. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* PostgreSQL's src/include/storage/checksum_impl.h: 32 parallel FNV-1a sums, each with another seed. */
static const uint32_t SEEDS[SUMS] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

/* The checksum that each page should have, given its block number within the whole relation. */
FOR_EACH_PROCESSOR
void stillhouse_checksums(const uint8_t *pages, size_t count, size_t size, const uint32_t *blocks, uint16_t *found)
{
    for (size_t page = 0; page < count; page++, pages += size) {
        uint32_t sums[SUMS], row[SUMS], folded = 0;
        memcpy(sums, SEEDS, sizeof sums);
        for (size_t at = 0; at < size + 2 * sizeof row; at += sizeof row) {
            if (at < size)
                memcpy(row, pages + at, sizeof row);
            else
                memset(row, 0, sizeof row); /* two rows of zeros end every page */
            if (at == 0)
                row[2] &= 0xFFFF0000u; /* pd_checksum itself counts as zero */
            for (int lane = 0; lane < SUMS; lane++) {
                uint32_t mixed = sums[lane] ^ row[lane];
                sums[lane] = (mixed * PRIME) ^ (mixed >> 17);
            }
        }
        for (int lane = 0; lane < SUMS; lane++)
            folded ^= sums[lane];
        found[page] = (uint16_t)((folded ^ blocks[page]) % 65535 + 1);
    }
}

/* AES-GMAC of each page under one key and one nonce: GHASH (NIST SP 800-38D, section 6.4) over the page as additional
 * data, then `mask`. The caller makes `hash_key` and `mask` by AES. No step takes longer for some bytes than for others.
 */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define WITH_CARRYLESS __attribute__((target("pclmul,ssse3")))
#define AT_ONCE 8 /* blocks that share one reduction */

int stillhouse_has_tags(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3");
}

typedef struct {
    __m128i low, middle, high;
} product;

WITH_CARRYLESS static inline __m128i reversed(__m128i block)
{
    return _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

WITH_CARRYLESS static inline __m128i block_at(const uint8_t *bytes)
{
    return reversed(_mm_loadu_si128((const __m128i *)bytes));
}

WITH_CARRYLESS static inline __m128i folded(__m128i a)
{
    return _mm_xor_si128(a, _mm_shuffle_epi32(a, 0x4E));
}

/* By Karatsuba: the middle is still to be freed of the low and high part. */
WITH_CARRYLESS static inline void add_product(product *sum, __m128i a, __m128i b)
{
    sum->low = _mm_xor_si128(sum->low, _mm_clmulepi64_si128(a, b, 0x00));
    sum->middle = _mm_xor_si128(sum->middle, _mm_clmulepi64_si128(folded(a), folded(b), 0x00));
    sum->high = _mm_xor_si128(sum->high, _mm_clmulepi64_si128(a, b, 0x11));
}

/* The remainder modulo GHASH's polynomial, 1 + x + x^2 + x^7 + x^128, whose bits are in reversed order here. */
WITH_CARRYLESS static inline __m128i reduced(product sum)
{
    const __m128i polynomial = _mm_set_epi64x(0, (int64_t)0xC200000000000000u);
    sum.middle = _mm_xor_si128(sum.middle, _mm_xor_si128(sum.low, sum.high));
    __m128i low = _mm_xor_si128(sum.low, _mm_slli_si128(sum.middle, 8));
    __m128i high = _mm_xor_si128(sum.high, _mm_srli_si128(sum.middle, 8));
    for (int half = 0; half < 2; half++)
        low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4E), _mm_clmulepi64_si128(low, polynomial, 0x00));
    return _mm_xor_si128(high, low);
}

WITH_CARRYLESS static inline __m128i times(__m128i a, __m128i b)
{
    product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
    add_product(&sum, a, b);
    return reduced(sum);
}

/* The key times x: products of bits in reversed order come out shifted by one, and so they need not be shifted back. */
WITH_CARRYLESS static __m128i times_x(__m128i key)
{
    uint64_t half[2];
    _mm_storeu_si128((__m128i *)half, key);
    uint64_t low = half[0] << 1, high = half[1] << 1 | half[0] >> 63;
    if (half[1] >> 63)
        low ^= 1, high ^= 0xC200000000000000u;
    return _mm_set_epi64x((int64_t)high, (int64_t)low);
}

WITH_CARRYLESS
void stillhouse_tags(const uint8_t *pages, size_t count, size_t size, const uint8_t *hash_key, const uint8_t *mask,
                     uint8_t *tags)
{
    __m128i powers[AT_ONCE]; /* the highest first, as the first block is multiplied most often */
    powers[AT_ONCE - 1] = times_x(block_at(hash_key));
    for (int at = AT_ONCE - 2; at >= 0; at--)
        powers[at] = times(powers[at + 1], powers[AT_ONCE - 1]);
    const __m128i lengths = _mm_set_epi64x((int64_t)(size * 8), 0); /* of the page in bits, and of no text */
    for (size_t page = 0; page < count; page++, tags += 16) {
        __m128i hash = _mm_setzero_si128();
        for (const uint8_t *end = pages + size; pages < end; pages += 16 * AT_ONCE) {
            product sum = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};
            add_product(&sum, _mm_xor_si128(hash, block_at(pages)), powers[0]);
            for (int at = 1; at < AT_ONCE; at++)
                add_product(&sum, block_at(pages + 16 * at), powers[at]);
            hash = reduced(sum);
        }
        hash = reversed(times(_mm_xor_si128(hash, lengths), powers[AT_ONCE - 1]));
        _mm_storeu_si128((__m128i *)tags, _mm_xor_si128(hash, _mm_loadu_si128((const __m128i *)mask)));
    }
}
#else
int stillhouse_has_tags(void)
{
    return 0;
}
#endif
