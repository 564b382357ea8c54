/* hash.c - XXH3, compiled in here so that its types and symbols stay here, and CRC-32C.
 *
 * CRC-32C comes three ways: the SSE4.2 and ARMv8 instructions where the CPU has them (asked at
 * run time, so one binary fits all), else eight tables that take eight bytes a turn. On x86 three
 * stretches of CRC_PART bytes go side by side, because an instruction waits three cycles for the
 * one before; a carry-less product with x^(8n-33) moves a sum over the n bytes that follow it.
 *
 * A CRC is linear over xor, so a table row of 256 entries follows from the entries of the eight
 * single bits; the compiler expands them and no start-up code or generated file is needed. */
#include "storage/base/hash.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#if defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

/* clang-format off */
#define CRC_1(b, k0, k1, k2, k3, k4, k5, k6, k7)                                                   \
    (((b) & 1 ? k0 : 0u) ^ ((b) & 2 ? k1 : 0u) ^ ((b) & 4 ? k2 : 0u) ^ ((b) & 8 ? k3 : 0u) ^       \
     ((b) & 16 ? k4 : 0u) ^ ((b) & 32 ? k5 : 0u) ^ ((b) & 64 ? k6 : 0u) ^ ((b) & 128 ? k7 : 0u))
#define CRC_4(b, ...)  CRC_1(b, __VA_ARGS__), CRC_1((b) + 1, __VA_ARGS__),                         \
                       CRC_1((b) + 2, __VA_ARGS__), CRC_1((b) + 3, __VA_ARGS__)
#define CRC_16(b, ...) CRC_4(b, __VA_ARGS__), CRC_4((b) + 4, __VA_ARGS__),                         \
                       CRC_4((b) + 8, __VA_ARGS__), CRC_4((b) + 12, __VA_ARGS__)
#define CRC_64(b, ...) CRC_16(b, __VA_ARGS__), CRC_16((b) + 16, __VA_ARGS__),                      \
                       CRC_16((b) + 32, __VA_ARGS__), CRC_16((b) + 48, __VA_ARGS__)
#define CRC_ROW(...)   CRC_64(0, __VA_ARGS__), CRC_64(64, __VA_ARGS__),                            \
                       CRC_64(128, __VA_ARGS__), CRC_64(192, __VA_ARGS__)

/* crc_table[k][b]: byte b followed by k zero bytes; polynomial 0x82F63B78 (reflected). */
static const uint32_t crc_table[8][256] = {
    {CRC_ROW(0xF26B8303u, 0xE13B70F7u, 0xC79A971Fu, 0x8AD958CFu,
             0x105EC76Fu, 0x20BD8EDEu, 0x417B1DBCu, 0x82F63B78u)},
    {CRC_ROW(0x13A29877u, 0x274530EEu, 0x4E8A61DCu, 0x9D14C3B8u,
             0x3FC5F181u, 0x7F8BE302u, 0xFF17C604u, 0xFBC3FAF9u)},
    {CRC_ROW(0xA541927Eu, 0x4F6F520Du, 0x9EDEA41Au, 0x38513EC5u,
             0x70A27D8Au, 0xE144FB14u, 0xC76580D9u, 0x8B277743u)},
    {CRC_ROW(0xDD45AAB8u, 0xBF672381u, 0x7B2231F3u, 0xF64463E6u,
             0xE964B13Du, 0xD725148Bu, 0xABA65FE7u, 0x52A0C93Fu)},
    {CRC_ROW(0x38116FACu, 0x7022DF58u, 0xE045BEB0u, 0xC5670B91u,
             0x8F2261D3u, 0x1BA8B557u, 0x37516AAEu, 0x6EA2D55Cu)},
    {CRC_ROW(0xEF306B19u, 0xDB8CA0C3u, 0xB2F53777u, 0x6006181Fu,
             0xC00C303Eu, 0x85F4168Du, 0x0E045BEBu, 0x1C08B7D6u)},
    {CRC_ROW(0x68032CC8u, 0xD0065990u, 0xA5E0C5D1u, 0x4E2DFD53u,
             0x9C5BFAA6u, 0x3D5B83BDu, 0x7AB7077Au, 0xF56E0EF4u)},
    {CRC_ROW(0x493C7D27u, 0x9278FA4Eu, 0x211D826Du, 0x423B04DAu,
             0x847609B4u, 0x0D006599u, 0x1A00CB32u, 0x34019664u)},
};
/* clang-format on */

static uint32_t load_le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32c_tables(uint32_t crc, str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t n = s.n;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t a = load_le32(p) ^ crc;
        crc = crc_table[7][a & 255] ^ crc_table[6][a >> 8 & 255] ^ crc_table[5][a >> 16 & 255] ^
              crc_table[4][a >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^
              crc_table[0][p[7]];
    }
    for (; n > 0; n--, p++)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p) & 255];
    return ~crc;
}

#if defined(__aarch64__) && defined(__linux__)

static bool crc_has_hardware(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

__attribute__((target("+crc"))) static uint32_t crc_hardware(uint32_t crc, str s)
{
    const char *p = s.p;
    size_t n = s.n;
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        crc = __crc32cd(crc, word);
    }
    for (; n > 0; n--, p++)
        crc = __crc32cb(crc, (uint8_t)*p);
    return ~crc;
}

#elif defined(__x86_64__)

static bool crc_has_hardware(void)
{
    return __builtin_cpu_supports("sse4.2") != 0 && __builtin_cpu_supports("pclmul") != 0;
}

#define CRC_PART    1360        // three of them fit a page of 4 KiB
#define CRC_SHIFT_1 0x3F70CC6Fu // x^(8 * CRC_PART - 33), reflected
#define CRC_SHIFT_2 0x5AA1F3CFu // the same for two parts

/* The sum after zeros, as many as `k` stands for. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_shift(uint64_t crc, uint32_t k)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc), _mm_cvtsi32_si128((int)k), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

static uint64_t load_word(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_hardware(uint32_t crc, str s)
{
    const char *p = s.p;
    size_t n = s.n;
    uint64_t wide = (uint32_t)~crc;
    for (; n >= 3 * CRC_PART; n -= 3 * CRC_PART, p += 3 * CRC_PART) {
        uint64_t b = 0, c = 0;
        for (size_t i = 0; i < CRC_PART; i += 8) {
            wide = _mm_crc32_u64(wide, load_word(p + i));
            b = _mm_crc32_u64(b, load_word(p + CRC_PART + i));
            c = _mm_crc32_u64(c, load_word(p + 2 * (size_t)CRC_PART + i));
        }
        wide = crc_shift(wide, CRC_SHIFT_2) ^ crc_shift(b, CRC_SHIFT_1) ^ c;
    }
    for (; n >= 8; n -= 8, p += 8)
        wide = _mm_crc32_u64(wide, load_word(p));
    uint32_t narrow = (uint32_t)wide;
    for (; n > 0; n--, p++)
        narrow = _mm_crc32_u8(narrow, (uint8_t)*p);
    return ~narrow;
}

#else

static bool crc_has_hardware(void)
{
    return false;
}

static uint32_t crc_hardware(uint32_t crc, str s)
{
    return crc32c_tables(crc, s);
}

#endif

uint32_t crc32c_more(uint32_t crc, str s)
{
    return crc_has_hardware() ? crc_hardware(crc, s) : crc32c_tables(crc, s);
}

uint32_t crc32c(str s)
{
    return crc32c_more(0, s);
}

uint64_t hash64(str s)
{
    return XXH3_64bits(s.p, s.n);
}

uint64_t hash64_classic(str s)
{
    return XXH64(s.n > 0 ? s.p : "", s.n, 0);
}

uint64_t hash64_seed(str s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.p, s.n, seed);
}

struct hash128 hash128(str s)
{
    XXH128_hash_t h = XXH3_128bits(s.p, s.n);
    return (struct hash128){h.low64, h.high64};
}

struct hash128 hash128_seed(str s, struct hash128 seed)
{
    uint64_t mixed = seed.lo ^ (seed.hi * UINT64_C(0x9E3779B97F4A7C15));
    XXH128_hash_t h = XXH3_128bits_withSeed(s.p, s.n, mixed);
    return (struct hash128){h.low64, h.high64};
}

/* ---- sorting ---- */

#define SORT_FEW       24   // hashes sorted by insertion
#define SORT_PART      2048 // about so many at a time: they stay in the nearest cache
#define SORT_PART_BITS 11
#define SORT_BITS_MAX  12 // of the parts

static int cmp_hash(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static void sort_few(uint64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t hash = v[i];
        size_t at = i;
        for (; at > 0 && v[at - 1] > hash; at--)
            v[at] = v[at - 1];
        v[at] = hash;
    }
}

/* Where buckets end, by `bits` bits behind `skip` others; counted up while they are filled. */
static void spread(const uint64_t *v, size_t n, unsigned skip, unsigned bits, uint32_t *end,
                   uint64_t *out)
{
    size_t n_buckets = (size_t)1 << bits;
    memset(end, 0, (n_buckets + 1) * sizeof end[0]);
    for (size_t i = 0; i < n; i++)
        end[(v[i] << skip >> (64 - bits)) + 1]++;
    for (size_t i = 0; i < n_buckets; i++)
        end[i + 1] += end[i];
    for (size_t i = 0; i < n; i++)
        out[end[v[i] << skip >> (64 - bits)]++] = v[i];
}

/* Sorts from v to out what has its `skip` highest bits in common; the next ones spread it evenly,
 * unless hashes are equal or chosen. */
static void sort_part(const uint64_t *v, size_t n, unsigned skip, uint64_t *out)
{
    uint32_t end[(1 << SORT_PART_BITS) + 1];
    unsigned bits = 1;
    while (((size_t)1 << bits) < n && bits < SORT_PART_BITS)
        bits++;
    spread(v, n, skip, bits, end, out);
    for (size_t i = 0, from = 0; i < (size_t)1 << bits; from = end[i++])
        if (end[i] - from > SORT_FEW)
            qsort(out + from, end[i] - from, sizeof out[0], cmp_hash);
    sort_few(out, n); // hardly any is far from its place
}

void hash_sort(uint64_t *v, size_t n)
{
    uint32_t end[(1 << SORT_BITS_MAX) + 1];
    unsigned bits = 1;
    if (n <= SORT_FEW) {
        sort_few(v, n);
        return;
    }
    while (n >> bits > SORT_PART / 4 * 3 && bits < SORT_BITS_MAX)
        bits++;
    uint64_t *copy = mem_alloc(n * sizeof copy[0]);
    spread(v, n, 0, bits, end, copy);
    for (size_t i = 0, from = 0; i < (size_t)1 << bits; from = end[i++])
        sort_part(copy + from, end[i] - from, bits, v + from);
    mem_free(copy);
}
