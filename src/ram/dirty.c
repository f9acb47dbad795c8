/* SPDX-License-Identifier: MIT */
#include "ram/dirty.h"

#include "base/error.h"
#include "base/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALL_ONES UINT64_MAX

/* Bits @first to @last (0 to 63) of a word. */
static uint64_t bit_mask(uint64_t first, uint64_t last)
{
    return (ALL_ONES << first) & (ALL_ONES >> (63 - last));
}

DirtyBits *dirty_bits_create(uint64_t pages)
{
    uint64_t words = 0, level_words = pages;
    DirtyBits *bits;

    do {
        level_words = (level_words + 63) / 64;
        words += level_words;
    } while (level_words > 1);
    if (words > (SIZE_MAX - sizeof *bits) / sizeof(uint64_t)) {
        fail_no_memory("dirty bits");
        return NULL;
    }
    bits = calloc(1, sizeof *bits + (size_t)words * sizeof(uint64_t));
    if (!bits) {
        fail_no_memory("dirty bits");
        return NULL;
    }
    bits->pages = level_words = pages;
    uint64_t *place = (uint64_t *)(bits + 1);
    do {
        level_words = (level_words + 63) / 64;
        bits->level[bits->levels++] = place;
        place += level_words;
    } while (level_words > 1);
    return bits;
}

void dirty_bits_destroy(DirtyBits *bits)
{
    free(bits);
}

/* ---- marking ---------------------------------------------------------------------- */

/* Set @mask in @word; returns whether any of it was clear. */
static bool mark_word(uint64_t *word, uint64_t mask)
{
    if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & mask) == mask) {
        return false;
    }
    __atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST); /* pairs with take_word() */
    return true;
}

/* Bits @first to @last of @words; returns whether any was clear. */
static bool mark_words(uint64_t *words, uint64_t first, uint64_t last)
{
    uint64_t at = first / 64, end = last / 64;

    if (at == end) {
        return mark_word(&words[at], bit_mask(first % 64, last % 64));
    }
    bool changed = mark_word(&words[at], bit_mask(first % 64, 63));
    bool stored = false;
    while (++at < end) {
        /* All ones need no exchange: whatever another thread sets is among them. */
        if (__atomic_load_n(&words[at], __ATOMIC_RELAXED) != ALL_ONES) {
            __atomic_store_n(&words[at], ALL_ONES, __ATOMIC_RELEASE);
            stored = true;
        }
    }
    if (stored) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* before the summary is looked at */
    }
    return mark_word(&words[end], bit_mask(0, last % 64)) || changed || stored;
}

/* The same at @level and in the summaries above it. */
static void mark_from(DirtyBits *bits, unsigned level, uint64_t first, uint64_t last)
{
    for (; level < bits->levels && mark_words(bits->level[level], first, last); level++) {
        first /= 64;
        last /= 64;
    }
}

void dirty_bits_mark(DirtyBits *bits, uint64_t first, uint64_t last)
{
    mark_from(bits, 0, first, last);
}

static void mark_pages_of_word(DirtyBits *bits, uint64_t index, uint64_t mask)
{
    if (mark_word(&bits->level[0][index], mask)) {
        mark_from(bits, 1, index, index);
    }
}

void dirty_bits_put_back(DirtyBits *bits, const DirtySet *set)
{
    for (size_t i = 0; i < set->count; i++) {
        mark_pages_of_word(bits, set->words[i].index, set->words[i].bits);
    }
}

/* ---- merging a bitmap of the kernel's --------------------------------------------- */

typedef uint64_t Pair __attribute__((vector_size(16))); /* what every host has registers for */

static inline Pair load_pair(const uint8_t *bytes)
{
    Pair pair;

    memcpy(&pair, bytes, sizeof pair);
    return pair;
}

/* Whether the 64 bytes at @bytes are zero. */
static inline bool all_zero(const uint8_t *bytes)
{
    Pair any = (load_pair(bytes) | load_pair(bytes + 16)) |
               (load_pair(bytes + 32) | load_pair(bytes + 48));

    return !(any[0] | any[1]);
}

/* 64 bits of @bitmap from bit 64 * @index on, of @pages in all. */
static uint64_t bitmap_word(const uint8_t *bitmap, uint64_t index, uint64_t pages)
{
    uint64_t left = pages - 64 * index, word = 0;

    if (left >= 64) {
        memcpy(&word, bitmap + 8 * index, 8);
    } else {
        memcpy(&word, bitmap + 8 * index, (size_t)(left + 7) / 8);
    }
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return left >= 64 ? word : word & bit_mask(0, left - 1);
}

void dirty_bits_merge(DirtyBits *bits, uint64_t first, const void *bitmap, uint64_t pages)
{
    uint64_t shift = first % 64, words = (pages + 63) / 64;

    for (uint64_t i = 0; i < words; i++) {
        while (pages - 64 * i >= 512 && all_zero((const uint8_t *)bitmap + 8 * i)) {
            i += 8;
            if (i == words) {
                return;
            }
        }
        uint64_t word = bitmap_word(bitmap, i, pages), run = i;
        while (word == ALL_ONES && ++run < words) {
            word = bitmap_word(bitmap, run, pages);
        }
        if (run > i) { /* whole words need no exchange */
            dirty_bits_mark(bits, first + 64 * i, first + 64 * run - 1);
            i = run - 1;
            continue;
        }
        if (word << shift) {
            mark_pages_of_word(bits, first / 64 + i, word << shift);
        }
        if (shift && word >> (64 - shift)) {
            mark_pages_of_word(bits, first / 64 + i + 1, word >> (64 - shift));
        }
    }
}

/* ---- taking ----------------------------------------------------------------------- */

static int append(DirtySet *set, uint64_t index, uint64_t word)
{
    if (set->count == set->max) {
        size_t max = set->max ? 2 * set->max : 64;
        DirtyWord *words = realloc(set->words, max * sizeof *words);
        if (!words) {
            return fail_no_memory("a set of dirty pages");
        }
        set->words = words;
        set->max = max;
    }
    set->words[set->count++] = (DirtyWord){index, word};
    return 0;
}

typedef struct Taking {
    DirtyBits *bits;
    DirtySet *set; /* NULL: forget */
    int error;
} Taking;

/* Clear @mask in a word; returns what of it was set. */
static uint64_t take_word(uint64_t *word, uint64_t mask)
{
    if (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & mask)) {
        return 0;
    }
    return __atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST) & mask; /* pairs: mark_word() */
}

/* @value was taken from word @index of @level: go on with the words that it stands for. */
static void follow(Taking *taking, unsigned level, uint64_t index, uint64_t value)
{
    if (level) {
        for (; value; value &= value - 1) {
            uint64_t child = 64 * index + (uint64_t)__builtin_ctzll(value);
            follow(taking, level - 1, child,
                   take_word(&taking->bits->level[level - 1][child], ALL_ONES));
        }
    } else if (value && taking->set) {
        if (!taking->error) {
            taking->error = append(taking->set, index, value);
        }
        if (taking->error) {
            mark_pages_of_word(taking->bits, index, value);
        }
    }
}

/*
 * Bits @first to @last of @level: words that are covered whole by way of their summary, so that
 * those it knows to be zero are not looked at; the others directly.
 */
static void take_bits(Taking *taking, unsigned level, uint64_t first, uint64_t last)
{
    uint64_t *words = taking->bits->level[level];
    uint64_t at = first / 64, end = last / 64;

    if (at == end || level + 1 == taking->bits->levels) {
        follow(taking, level, at,
               take_word(&words[at], bit_mask(first % 64, at == end ? last % 64 : 63)));
        return;
    }
    if (first % 64) {
        follow(taking, level, at, take_word(&words[at], bit_mask(first % 64, 63)));
        at++;
    }
    uint64_t whole_end = last % 64 == 63 ? end : end - 1;
    if (at <= whole_end) {
        take_bits(taking, level + 1, at, whole_end);
    }
    if (whole_end < end) {
        follow(taking, level, end, take_word(&words[end], bit_mask(0, last % 64)));
    }
}

int dirty_bits_take(DirtyBits *bits, uint64_t first, uint64_t last, DirtySet *set)
{
    size_t before = set->count;
    Taking taking = {bits, set, 0};

    take_bits(&taking, 0, first, last);
    if (taking.error && set->count > before) {
        DirtySet taken = {set->words + before, set->count - before, 0};
        dirty_bits_put_back(bits, &taken);
        set->count = before;
    }
    return taking.error;
}

void dirty_bits_clear(DirtyBits *bits, uint64_t first, uint64_t last)
{
    Taking taking = {bits, NULL, 0};

    take_bits(&taking, 0, first, last);
}

bool dirty_bits_any(const DirtyBits *bits, uint64_t first, uint64_t last)
{
    for (uint64_t at = first; at <= last; at = (at | 63) + 1) {
        uint64_t mask = bit_mask(at % 64, hwaddr_min(last - (at & ~63ULL), 63));
        if (__atomic_load_n(&bits->level[0][at / 64], __ATOMIC_ACQUIRE) & mask) {
            return true;
        }
    }
    return false;
}

/* ---- what was taken --------------------------------------------------------------- */

uint64_t dirty_set_pages(const DirtySet *set)
{
    uint64_t pages = 0;

    for (size_t i = 0; i < set->count; i++) {
        pages += (uint64_t)__builtin_popcountll(set->words[i].bits);
    }
    return pages;
}

/* The first word at @index or above. */
static size_t find_word(const DirtySet *set, uint64_t index)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->words[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool dirty_set_next(const DirtySet *set, uint64_t *first, uint64_t *last)
{
    size_t i = find_word(set, *first / 64);
    uint64_t at = *first;

    for (; i < set->count; i++) {
        uint64_t base = 64 * set->words[i].index;
        uint64_t bits = set->words[i].bits & (at > base ? bit_mask(at % 64, 63) : ALL_ONES);
        if (bits) {
            at = base + (uint64_t)__builtin_ctzll(bits);
            break;
        }
    }
    if (i == set->count) {
        return false;
    }
    *first = *last = at;
    for (; i < set->count && set->words[i].index == *last / 64; i++) {
        uint64_t clear = ~set->words[i].bits & bit_mask(*last % 64, 63);
        if (clear) {
            *last = 64 * set->words[i].index + (uint64_t)__builtin_ctzll(clear) - 1;
            return true;
        }
        *last = 64 * set->words[i].index + 64;
    }
    *last -= 1;
    return true;
}

bool dirty_set_any(const DirtySet *set, uint64_t first, uint64_t last)
{
    uint64_t found = first, end;

    return dirty_set_next(set, &found, &end) && found <= last;
}

void dirty_set_free(DirtySet *set)
{
    free(set->words);
    *set = (DirtySet){0};
}
