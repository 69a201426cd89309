/* The compiled engine of J and F: the integers of icvos/metrics/definition.py, from one scan of two label maps.

   counts(prediction, truth, height, width, objects, radius, ids, out)
     prediction, truth   height * width bytes, labels
     ids                 one byte an object, distinct
     out                 objects * 6 int64: intersection, union, boundary pixels of the prediction and how many match,
                         boundary pixels of the truth and how many match

   A pixel's 2x2 block (itself, right, below, diagonal) that is not uniform is a boundary pixel of every label in it.
   Blocks are compared 16 (or 8) pixels at a time, so that flat areas cost next to nothing. Boundary pixels are kept as
   points; those of one side are looked up in a bit map of the other, row by row of the disk from the middle outwards,
   until one is found.

   adaptive_counts(prediction, truth, height, width, ids, limits, starts, windows, out) is the same where the tolerance
   follows the size of the object, as MOSEv2 has it
     limits, starts, windows   shapes: n areas; n + 2 places in the windows; dy, left, right of each. A truth of at most
                               limits[i] pixels has shape i, and shape n for the wide match; the last has itself for both
     out                       objects * 8 int64: as above, then how many match widely, of the prediction, of the truth */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef struct { int32_t y, x; } Point;
typedef struct { Point *at; size_t count, room; } Points;

static int push(Points *points, int32_t y, int32_t x)
{
    if (points->count == points->room) {
        size_t room = points->room ? 2 * points->room : 1024;
        Point *grown = realloc(points->at, room * sizeof(Point));
        if (!grown) return -1;
        points->at = grown;
        points->room = room;
    }
    points->at[points->count].y = y;
    points->at[points->count++].x = x;
    return 0;
}

/* A block of labels a b / c d at (y, x): one point for each tracked label in it, if it is not uniform. */
static int block(Points *sides, const int16_t *index, int32_t y, int32_t x, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    if (index[a] >= 0 && push(&sides[index[a]], y, x)) return -1;
    if (b != a && index[b] >= 0 && push(&sides[index[b]], y, x)) return -1;
    if (c != a && c != b && index[c] >= 0 && push(&sides[index[c]], y, x)) return -1;
    if (d != a && d != b && d != c && index[d] >= 0 && push(&sides[index[d]], y, x)) return -1;
    return 0;
}

static int boundary(const uint8_t *map, int32_t height, int32_t width, const int16_t *index, Points *sides)
{
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *row = map + (size_t)y * width;
        const uint8_t *below = y + 1 < height ? row + width : row; /* the last row has only its right neighbours */
        int32_t x = 0;
#ifdef __SSE2__
        for (; x + 17 <= width; x += 16) {
            __m128i here = _mm_loadu_si128((const __m128i *)(row + x));
            __m128i same = _mm_cmpeq_epi8(here, _mm_loadu_si128((const __m128i *)(row + x + 1)));
            same = _mm_and_si128(same, _mm_cmpeq_epi8(here, _mm_loadu_si128((const __m128i *)(below + x))));
            same = _mm_and_si128(same, _mm_cmpeq_epi8(here, _mm_loadu_si128((const __m128i *)(below + x + 1))));
            unsigned differs = ~(unsigned)_mm_movemask_epi8(same) & 0xFFFFu;
            while (differs) {
                int32_t at = x + __builtin_ctz(differs);
                differs &= differs - 1;
                if (block(sides, index, y, at, row[at], row[at + 1], below[at], below[at + 1])) return -1;
            }
        }
#endif
        for (; x + 9 <= width; x += 8) {
            uint64_t here, right, under, across;
            memcpy(&here, row + x, 8);
            memcpy(&right, row + x + 1, 8);
            memcpy(&under, below + x, 8);
            memcpy(&across, below + x + 1, 8);
            if (!((here ^ right) | (here ^ under) | (here ^ across))) continue;
            for (int32_t at = x; at < x + 8; at++)
                if (row[at] != row[at + 1] || row[at] != below[at] || row[at] != below[at + 1])
                    if (block(sides, index, y, at, row[at], row[at + 1], below[at], below[at + 1])) return -1;
        }
        for (; x + 1 < width; x++)
            if (row[x] != row[x + 1] || row[x] != below[x] || row[x] != below[x + 1])
                if (block(sides, index, y, x, row[x], row[x + 1], below[x], below[x + 1])) return -1;
        /* The last column has only its lower neighbour; in the corner that is the pixel itself. */
        if (width > 0 && row[x] != below[x])
            if (block(sides, index, y, x, row[x], row[x], below[x], below[x])) return -1;
    }
    return 0;
}

static void areas(const uint8_t *p, const uint8_t *t, size_t size, int64_t *in_p, int64_t *in_t, int64_t *in_both)
{
    size_t i = 0;
    int64_t zeros = 0;
#ifdef __SSE2__
    const __m128i none = _mm_setzero_si128();
    for (; i + 16 <= size; i += 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(p + i)), b = _mm_loadu_si128((const __m128i *)(t + i));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_or_si128(a, b), none)) == 0xFFFF) {
            zeros += 16;
            continue;
        }
        int flat_a = _mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_set1_epi8((char)p[i]))) == 0xFFFF;
        int flat_b = _mm_movemask_epi8(_mm_cmpeq_epi8(b, _mm_set1_epi8((char)t[i]))) == 0xFFFF;
        if (flat_a && flat_b) {
            in_p[p[i]] += 16;
            in_t[t[i]] += 16;
            if (p[i] == t[i]) in_both[p[i]] += 16;
            continue;
        }
        for (size_t j = i; j < i + 16; j++) {
            in_p[p[j]]++;
            in_t[t[j]]++;
            in_both[p[j]] += p[j] == t[j];
        }
    }
#endif
    for (; i < size; i++) {
        in_p[p[i]]++;
        in_t[t[i]]++;
        in_both[p[i]] += p[i] == t[i];
    }
    in_p[0] += zeros;
    in_t[0] += zeros;
    in_both[0] += zeros;
}

/* A row of the shape around a point in which its match may lie. */
typedef struct { int32_t dy, left, right; } Window;

/* How many of `points` have one of `others` in one of the windows, none of which is wider than `margin` to either side.
   -1: no memory. */
static int64_t matched(const Points *points, const Points *others, int32_t width, int32_t margin, const Window *windows,
                       size_t rows, uint64_t **bits, size_t *room)
{
    if (!points->count || !others->count) return 0;
    /* Points come row by row. The map has a margin on both sides, so that no window leaves it. */
    const int32_t first = others->at[0].y, last = others->at[others->count - 1].y;
    const size_t stride = ((size_t)width + 2 * (size_t)margin + 63) / 64 + 1;
    const size_t need = stride * ((size_t)(last - first) + 1);
    if (need > *room) {
        free(*bits);
        *bits = malloc(need * sizeof(uint64_t));
        *room = *bits ? need : 0;
        if (!*bits) return -1;
    }
    uint64_t *map = *bits;
    memset(map, 0, need * sizeof(uint64_t));
    for (size_t i = 0; i < others->count; i++) {
        size_t at = (size_t)others->at[i].x + margin;
        map[(size_t)(others->at[i].y - first) * stride + (at >> 6)] |= (uint64_t)1 << (at & 63);
    }
    int64_t found = 0;
    for (size_t i = 0; i < points->count; i++) {
        const int32_t y = points->at[i].y, x = points->at[i].x + margin;
        int hit = 0;
        for (size_t w = 0; w < rows && !hit; w++) {
            const int32_t at = y + windows[w].dy;
            if (at < first || at > last) continue;
            const size_t from = (size_t)(x + windows[w].left), to = (size_t)(x + windows[w].right);
            const uint64_t head = ~(uint64_t)0 << (from & 63), tail = ~(uint64_t)0 >> (63 - (to & 63));
            const uint64_t *row = map + (size_t)(at - first) * stride;
            const size_t begin = from >> 6, end = to >> 6;
            if (begin == end) {
                hit = (row[begin] & head & tail) != 0;
                continue;
            }
            hit = (row[begin] & head) != 0 || (row[end] & tail) != 0;
            for (size_t word = begin + 1; word < end && !hit; word++) hit = row[word] != 0;
        }
        found += hit;
    }
    return found;
}

/* The points of two label maps' objects, and their areas. */
typedef struct {
    int64_t in_p[256], in_t[256], in_both[256];
    Points *sides; /* of the prediction's objects, then of the truth's */
    int32_t objects;
} Scan;

static int scan(Scan *into, const uint8_t *p, const uint8_t *t, int32_t height, int32_t width, int32_t objects,
                const uint8_t *ids)
{
    int16_t index[256];
    memset(into, 0, sizeof *into);
    memset(index, 0xFF, sizeof index);
    for (int32_t k = 0; k < objects; k++) index[ids[k]] = (int16_t)k;
    into->objects = objects;
    into->sides = calloc(2 * (size_t)objects + 1, sizeof(Points));
    if (!into->sides) return -1;
    areas(p, t, (size_t)height * width, into->in_p, into->in_t, into->in_both);
    return boundary(p, height, width, index, into->sides) || boundary(t, height, width, index, into->sides + objects);
}

static void forget(Scan *scan)
{
    if (scan->sides)
        for (int32_t k = 0; k < 2 * scan->objects; k++) free(scan->sides[k].at);
    free(scan->sides);
}

/* Fill the first six counts of an object, by the windows of its tolerance. */
static int count(const Scan *scan, int32_t k, uint8_t id, int32_t width, int32_t margin, const Window *windows,
                 size_t rows, uint64_t **bits, size_t *room, int64_t *out)
{
    const Points *mine = &scan->sides[k], *theirs = &scan->sides[scan->objects + k];
    out[0] = scan->in_both[id];
    out[1] = scan->in_p[id] + scan->in_t[id] - scan->in_both[id];
    out[2] = (int64_t)mine->count;
    out[4] = (int64_t)theirs->count;
    out[3] = matched(mine, theirs, width, margin, windows, rows, bits, room);
    out[5] = out[3] < 0 ? -1 : matched(theirs, mine, width, margin, windows, rows, bits, room);
    return out[5] < 0;
}

static int score(const uint8_t *p, const uint8_t *t, int32_t height, int32_t width, int32_t objects, int32_t radius,
                 const uint8_t *ids, int64_t *out)
{
    Scan points;
    uint64_t *bits = NULL;
    size_t room = 0;
    int failed = scan(&points, p, t, height, width, objects, ids);
    Window *disk = malloc((2 * (size_t)radius + 1) * sizeof(Window));
    failed = failed || !disk;
    if (disk) {
        size_t rows = 0;
        for (int32_t dy = 0, half = radius; dy <= radius; dy++) {
            while ((int64_t)half * half + (int64_t)dy * dy > (int64_t)radius * radius) half--;
            for (int side = 1; side >= (dy ? -1 : 1); side -= 2) disk[rows++] = (Window){side * dy, -half, half};
        }
        for (int32_t k = 0; k < objects && !failed; k++)
            failed = count(&points, k, ids[k], width, radius, disk, rows, &bits, &room, out + 6 * (size_t)k);
    }
    forget(&points);
    free(disk);
    free(bits);
    return failed;
}

static int adaptive_score(const uint8_t *p, const uint8_t *t, int32_t height, int32_t width, int32_t objects,
                          const uint8_t *ids, const int64_t *limits, size_t shapes, const int32_t *starts,
                          const Window *windows, int32_t margin, int64_t *out)
{
    Scan points;
    uint64_t *bits = NULL;
    size_t room = 0;
    int failed = scan(&points, p, t, height, width, objects, ids);
    for (int32_t k = 0; k < objects && !failed; k++) {
        int64_t *row = out + 8 * (size_t)k;
        size_t shape = 0;
        while (shape + 1 < shapes && points.in_t[ids[k]] > limits[shape]) shape++;
        const size_t rows = (size_t)(starts[shape + 1] - starts[shape]);
        failed = count(&points, k, ids[k], width, margin, windows + starts[shape], rows, &bits, &room, row);
        row[6] = row[3];
        row[7] = row[5];
        /* The wide shape holds the others but the last, so that what all matched there matches here. */
        if (failed || shape + 1 == shapes || (row[3] == row[2] && row[5] == row[4])) continue;
        const Points *mine = &points.sides[k], *theirs = &points.sides[objects + k];
        const Window *wide = windows + starts[shapes];
        const size_t count_wide = (size_t)(starts[shapes + 1] - starts[shapes]);
        row[6] = matched(mine, theirs, width, margin, wide, count_wide, &bits, &room);
        row[7] = row[6] < 0 ? -1 : matched(theirs, mine, width, margin, wide, count_wide, &bits, &room);
        failed = row[7] < 0;
    }
    forget(&points);
    free(bits);
    return failed;
}

static PyObject *counts(PyObject *self, PyObject *args)
{
    Py_buffer p, t, ids, out;
    int height, width, objects, radius, failed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*iiiiy*w*", &p, &t, &height, &width, &objects, &radius, &ids, &out)) return NULL;
    const int64_t size = (int64_t)height * width;
    if (height < 0 || width < 0 || objects < 0 || objects > 256 || radius < 0 || radius > (1 << 20) || p.len != size
        || t.len != size || ids.len != objects || out.len != (Py_ssize_t)(objects * 6 * sizeof(int64_t))) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit the sizes given");
    } else {
        if (size) {
            Py_BEGIN_ALLOW_THREADS
            failed = score(p.buf, t.buf, height, width, objects, radius, ids.buf, out.buf);
            Py_END_ALLOW_THREADS
        }
        if (failed) PyErr_NoMemory();
    }
    PyBuffer_Release(&p);
    PyBuffer_Release(&t);
    PyBuffer_Release(&ids);
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* Whether shapes are whole: places that rise from 0 to the end, windows that are no wider than an image; their margin. */
static int read_shapes(const int32_t *starts, size_t shapes, const Window *windows, size_t rows, int32_t *margin)
{
    *margin = 0;
    if (!shapes || starts[0] != 0 || starts[shapes + 1] != (int64_t)rows) return -1;
    for (size_t i = 0; i <= shapes; i++)
        if (starts[i + 1] < starts[i] || starts[i + 1] > (int64_t)rows) return -1;
    for (size_t i = 0; i < rows; i++) {
        const Window *w = &windows[i];
        if (w->left > w->right || w->left < -(1 << 20) || w->right > 1 << 20) return -1;
        if (w->dy < -(1 << 20) || w->dy > 1 << 20) return -1;
        if (-w->left > *margin) *margin = -w->left;
        if (w->right > *margin) *margin = w->right;
    }
    return 0;
}

static PyObject *adaptive_counts(PyObject *self, PyObject *args)
{
    Py_buffer p, t, ids, limits, starts, windows, out;
    int height, width, failed = 0;
    int32_t margin;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*iiy*y*y*y*w*", &p, &t, &height, &width, &ids, &limits, &starts, &windows, &out))
        return NULL;
    const int64_t size = (int64_t)height * width;
    const size_t shapes = (size_t)limits.len / sizeof(int64_t), rows = (size_t)windows.len / sizeof(Window);
    if (height < 0 || width < 0 || p.len != size || t.len != size || ids.len > 256
        || limits.len != (Py_ssize_t)(shapes * sizeof(int64_t)) || windows.len != (Py_ssize_t)(rows * sizeof(Window))
        || starts.len != (Py_ssize_t)((shapes + 2) * sizeof(int32_t))
        || out.len != (Py_ssize_t)((size_t)ids.len * 8 * sizeof(int64_t))
        || read_shapes(starts.buf, shapes, windows.buf, rows, &margin)) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit the sizes given");
    } else {
        if (size) {
            Py_BEGIN_ALLOW_THREADS
            failed = adaptive_score(p.buf, t.buf, height, width, (int32_t)ids.len, ids.buf, limits.buf, shapes,
                                    starts.buf, windows.buf, margin, out.buf);
            Py_END_ALLOW_THREADS
        }
        if (failed) PyErr_NoMemory();
    }
    Py_buffer *all[] = {&p, &t, &ids, &limits, &starts, &windows, &out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) PyBuffer_Release(all[i]);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* Undo PNG's row filters for 8-bit grey or palette rows: raw is height * (1 + width), out height * width. */
static int unfilter_rows(const uint8_t *raw, int32_t height, int32_t width, uint8_t *out)
{
    for (int32_t y = 0; y < height; y++) {
        const uint8_t *in = raw + (size_t)y * ((size_t)width + 1) + 1;
        uint8_t *row = out + (size_t)y * width;
        const uint8_t *up = y ? row - width : NULL;
        switch (in[-1]) {
        case 0:
            memcpy(row, in, width);
            break;
        case 1:
            for (int32_t x = 0; x < width; x++) row[x] = (uint8_t)(in[x] + (x ? row[x - 1] : 0));
            break;
        case 2:
            for (int32_t x = 0; x < width; x++) row[x] = (uint8_t)(in[x] + (up ? up[x] : 0));
            break;
        case 3:
            for (int32_t x = 0; x < width; x++)
                row[x] = (uint8_t)(in[x] + (((x ? row[x - 1] : 0) + (up ? up[x] : 0)) >> 1));
            break;
        case 4:
            for (int32_t x = 0; x < width; x++) {
                const int a = x ? row[x - 1] : 0, b = up ? up[x] : 0, c = x && up ? up[x - 1] : 0;
                const int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
                row[x] = (uint8_t)(in[x] + (pa <= pb && pa <= pc ? a : pb <= pc ? b : c));
            }
            break;
        default:
            return -1;
        }
    }
    return 0;
}

static PyObject *unfilter(PyObject *self, PyObject *args)
{
    Py_buffer raw, out;
    int height, width, failed = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*iiw*", &raw, &height, &width, &out)) return NULL;
    if (height < 0 || width < 0 || raw.len != (int64_t)height * ((int64_t)width + 1)
        || out.len != (int64_t)height * width) {
        PyErr_SetString(PyExc_ValueError, "buffers do not fit the sizes given");
    } else {
        Py_BEGIN_ALLOW_THREADS
        failed = unfilter_rows(raw.buf, height, width, out.buf);
        Py_END_ALLOW_THREADS
        if (failed) PyErr_SetString(PyExc_ValueError, "unknown row filter");
    }
    PyBuffer_Release(&raw);
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"unfilter", unfilter, METH_VARARGS, "unfilter(raw, height, width, out): undo PNG row filters of 8-bit rows"},
    {"counts", counts, METH_VARARGS, "counts(prediction, truth, height, width, objects, radius, ids, out)"},
    {"adaptive_counts", adaptive_counts, METH_VARARGS,
     "adaptive_counts(prediction, truth, height, width, ids, limits, starts, windows, out)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_engine", "The compiled engine of J and F, and of PNG rows.", -1, methods,
                                    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__engine(void) { return PyModule_Create(&module); }
