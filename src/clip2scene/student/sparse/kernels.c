/* Sparse convolution on one CPU: gather, multiply and scatter fused, float32.
 *
 * The plain-torch truth is conv.py; this file only does the same sums faster. A group of input rows is copied to a
 * small buffer, multiplied by one kernel offset's matrix with all sums held in registers, and added to the output rows.
 * Within a kernel offset both ends of the pairs ascend, so the pairs of a block of output rows are one slice: a block
 * stays in the cache while all offsets pass over it, and blocks can be shared out between threads without locks.
 *
 * The number of columns of every output is a multiple of LANES; the caller sees to it.
 */
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
enum { ROWS_1 = 14, ROWS_2 = 12, ROWS_3 = 8, ROWS_4 = 6 };  /* rows held at once, by vectors per row */
#else
#define LANES 8
enum { ROWS_1 = 10, ROWS_2 = 6, ROWS_3 = 4, ROWS_4 = 3 };
#endif
enum { DEPTH = 256, PITCH = DEPTH + 16, MOST_ROWS = 14, GROUP = 84, BLOCK_BYTES = 1 << 19 };

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int64_t index_t;

int clip2scene_lanes(void) { return LANES; }

/* Unrolled from the start, or the compiler leaves the sums in memory. */
#define EACH(index, count) _Pragma("GCC unroll 16") for (int index = 0; index < count; index++)

/* out[r][:] (+)= sum over d of in[r][d] * w[d][:], for R rows of V vectors. */
#define MULTIPLY(V, R)                                                                                        \
    static void multiply_##V(const float *in, index_t depth, const float *w, index_t pitch, float **out, int add) { \
        vec sum[R][V];                                                                                        \
        EACH(r, R)                                                                           \
            EACH(v, V) sum[r][v] = add ? *(const vec *)(out[r] + v * LANES) : (vec){0};      \
        for (index_t d = 0; d < depth; d++, w += pitch, in++) {                                               \
            vec row[V];                                                                                       \
            EACH(v, V) row[v] = *(const vec *)(w + v * LANES);                               \
            EACH(r, R)                                                                       \
                EACH(v, V) sum[r][v] += in[r * PITCH] * row[v];                              \
        }                                                                                                     \
        EACH(r, R)                                                                           \
            EACH(v, V) *(vec *)(out[r] + v * LANES) = sum[r][v];                             \
    }
MULTIPLY(1, ROWS_1)
MULTIPLY(2, ROWS_2)
MULTIPLY(3, ROWS_3)
MULTIPLY(4, ROWS_4)

typedef void multiply_t(const float *, index_t, const float *, index_t, float **, int);
static multiply_t *const multiply[] = {0, multiply_1, multiply_2, multiply_3, multiply_4};
static const int rows_at_once[] = {0, ROWS_1, ROWS_2, ROWS_3, ROWS_4};

/* Vectors of the next column tile, when `left` are left: as few and as even tiles of at most four as possible; with
 * sixteen registers two, as six rows of two vectors leave room for what is read. No sum depends on it. */
static int next_tile(index_t left) {
    if (LANES == 8) return left == 3 ? 3 : left >= 2 ? 2 : 1;
    return left == 4 || left >= 7 ? 4 : left >= 5 ? 3 : (int)left;
}

static index_t first_at_least(const index_t *rows, index_t from, index_t to, index_t bound) {
    while (from < to) {
        index_t middle = from + (to - from) / 2;
        if (rows[middle] < bound) from = middle + 1;
        else to = middle;
    }
    return from;
}

/* Rows from..to of the pairs (source[i], target[i]), or (i, i) where there are no lists, through one matrix. A group of
 * rows is copied to the buffer once for all column tiles. */
static void pass(const float *x, const index_t *source, const index_t *target, index_t from, index_t to,
                 const float *w, index_t in, index_t out, float *y, int add) {
    float buffer[(GROUP + MOST_ROWS) * PITCH] __attribute__((aligned(64)));
    float spare[4 * LANES] = {0};
    int several = out / LANES > next_tile(out / LANES); /* tiles, some of which may leave rows over */
    index_t group = several ? GROUP : rows_at_once[next_tile(out / LANES)];
    for (index_t low = 0; low < in; low += DEPTH) {
        index_t depth = in - low < DEPTH ? in - low : DEPTH;
        for (index_t first = from; first < to; first += group) {
            index_t rows = to - first < group ? to - first : group;
            for (index_t r = 0; r < (several ? rows + MOST_ROWS - 1 : group); r++) {
                index_t pair = r < rows ? first + r : to - 1;
                memcpy(buffer + r * PITCH, x + (source ? source[pair] : pair) * in + low, 4 * depth);
            }
            for (index_t column = 0, left = out / LANES; left > 0;) {
                int tile = next_tile(left), at_once = rows_at_once[tile];
                for (index_t r = 0; r < rows; r += at_once) {
                    float *place[MOST_ROWS];
                    for (int n = 0; n < at_once; n++) {
                        index_t pair = first + r + n;
                        place[n] = r + n < rows ? y + (target ? target[pair] : pair) * out + column : spare;
                    }
                    multiply[tile](buffer + r * PITCH, depth, w + low * out + column, out, place, add || low);
                }
                column += tile * LANES;
                left -= tile;
            }
        }
    }
}

/* y = y * scale + shift by columns, then ReLU if asked for; NaN stays. */
static void finish(float *y, index_t rows, index_t out, const float *scale, const float *shift, int relu) {
    for (index_t r = 0; r < rows; r++, y += out)
        for (index_t c = 0; c < out; c++) {
            float value = y[c] * scale[c] + shift[c];
            y[c] = relu && value < 0 ? 0 : value;
        }
}

/* y[target] = sum of x[source] @ w[offset]; w is (offsets, in, out). centre < 0: no offset pairs rows with themselves.
 * Each block of rows is finished while it is in the cache, unless scale is null.
 * Threads call this at once with the same `next`, a counter that starts at 0: each takes the next block of rows. */
void clip2scene_convolve(const float *x, const float *w, const index_t *source, const index_t *target,
                         const index_t *starts, index_t offsets, index_t centre, index_t in, index_t out,
                         index_t rows, float *y, index_t *next, const float *scale, const float *shift, int relu) {
    index_t block = BLOCK_BYTES / (4 * out) + 1, low;
    while ((low = block * __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < rows) {
        index_t high = low + block < rows ? low + block : rows;
        if (centre >= 0) pass(x, 0, 0, low, high, w + centre * in * out, in, out, y, 0);
        else memset(y + low * out, 0, 4 * (high - low) * out);
        for (index_t k = 0; k < offsets; k++) {
            index_t from = first_at_least(target, starts[k], starts[k + 1], low);
            index_t to = first_at_least(target, from, starts[k + 1], high);
            pass(x, source, target, from, to, w + k * in * out, in, out, y, 1);
        }
        if (scale) finish(y + low * out, high - low, out, scale, shift, relu);
    }
}

/* gw[r][:] += sum over pairs of x[source][r] * g[target][:], for R rows of V vectors. */
#define CORRELATE(V, R)                                                                                       \
    static void correlate_##V(const float *x, const float *g, index_t pairs, index_t in, index_t out, float **gw) { \
        vec sum[R][V];                                                                                        \
        EACH(r, R)                                                                           \
            EACH(v, V) sum[r][v] = *(const vec *)(gw[r] + v * LANES);                        \
        for (index_t i = 0; i < pairs; i++, x += in, g += out) {                                              \
            vec row[V];                                                                                       \
            EACH(v, V) row[v] = *(const vec *)(g + v * LANES);                               \
            EACH(r, R)                                                                       \
                EACH(v, V) sum[r][v] += x[r] * row[v];                                       \
        }                                                                                                     \
        EACH(r, R)                                                                           \
            EACH(v, V) *(vec *)(gw[r] + v * LANES) = sum[r][v];                              \
    }
CORRELATE(1, ROWS_1)
CORRELATE(2, ROWS_2)
CORRELATE(3, ROWS_3)
CORRELATE(4, ROWS_4)

typedef void correlate_t(const float *, const float *, index_t, index_t, index_t, float **);
static correlate_t *const correlate[] = {0, correlate_1, correlate_2, correlate_3, correlate_4};

enum { CHUNK = 128, SLICE = 64 };

/* Add to rows low..high of one offset's gradient what a chunk of pairs gives; the rows of xs begin with column low. */
static void correlate_chunk(const float *xs, index_t x_pitch, const float *gs, index_t pairs, index_t out, index_t low,
                            index_t high, float *gw) {
    float spare[4 * LANES] = {0};
    for (index_t column = 0, left = out / LANES; left > 0;) {
        int tile = next_tile(left), at_once = rows_at_once[tile];
        for (index_t row = low; row < high; row += at_once) {
            index_t start = row + at_once > high && high - low >= at_once ? high - at_once : row;
            float *place[MOST_ROWS];
            for (int r = 0; r < at_once; r++) {
                int wanted = start + r >= row && start + r < high;
                place[r] = wanted ? gw + (start + r) * out + column : spare;
            }
            correlate[tile](xs + start - low, gs + column, pairs, x_pitch, out, place);
        }
        column += tile * LANES;
        left -= tile;
    }
}

/* gw (offsets, in, out) = gradient of the weight. Threads share `next` as above: each takes SLICE rows of one offset. */
void clip2scene_weight_gradient(const float *x, const float *g, const index_t *source, const index_t *target,
                                const index_t *starts, index_t offsets, index_t centre, index_t in, index_t out,
                                index_t rows, float *gw, index_t *next) {
    enum { X_PITCH = SLICE + 16 };
    float xs[CHUNK * X_PITCH] __attribute__((aligned(64))), gs[CHUNK * 512] __attribute__((aligned(64)));
    index_t slices = (in + SLICE - 1) / SLICE, task;
    memset(xs, 0, sizeof xs);
    while ((task = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED)) < offsets * slices) {
        index_t k = task / slices, low = task % slices * SLICE, high = low + SLICE < in ? low + SLICE : in;
        index_t first = k == centre ? 0 : starts[k], last = k == centre ? rows : starts[k + 1];
        memset(gw + (k * in + low) * out, 0, 4 * (high - low) * out);
        for (index_t i = first; i < last; i += CHUNK) {
            index_t pairs = last - i < CHUNK ? last - i : CHUNK;
            const float *there = g + i * out;
            for (index_t p = 0; p < pairs; p++)
                memcpy(xs + p * X_PITCH, x + (k == centre ? i + p : source[i + p]) * in + low, 4 * (high - low));
            if (k != centre) {
                for (index_t p = 0; p < pairs; p++) memcpy(gs + p * out, g + target[i + p] * out, 4 * out);
                there = gs;
            }
            correlate_chunk(xs, X_PITCH, there, pairs, out, low, high, gw + k * in * out);
        }
    }
}

/* Submanifold map of sorted keys by one merge per column of neighbours. Half offset h is the h-th after the centre; its
 * pairs (j, i) go to slot centre + 1 + h, and mirrored to slot centre - 1 - h, each slot beginning where starts says.
 * Without starts the pairs are only counted, into counts[h]. */
void clip2scene_neighbours(const index_t *keys, index_t rows, const index_t *columns, index_t num_columns, index_t radius,
                           index_t centre, const index_t *starts, index_t *counts, index_t *source, index_t *target) {
    index_t edge = 2 * radius + 1;
    for (index_t h = 0; h < centre; h++) counts[h] = 0;
    for (index_t c = -1; c < num_columns; c++) { /* -1: the upper half of the voxel's own column */
        index_t lowest = c < 0 ? 1 : columns[c] - radius, reach = c < 0 ? radius : edge;
        index_t slot = c < 0 ? 0 : radius + c * edge, from = 0;
        for (index_t i = 0; i < rows; i++) {
            index_t wanted = keys[i] + lowest;
            while (from < rows && keys[from] < wanted) from++;
            for (index_t j = from; j < rows && keys[j] < wanted + reach; j++) {
                index_t h = slot + keys[j] - wanted, n = counts[h]++;
                if (!starts) continue;
                index_t after = starts[centre + 1 + h] + n, before = starts[centre - 1 - h] + n;
                source[after] = target[before] = j;
                target[after] = source[before] = i;
            }
        }
    }
}
