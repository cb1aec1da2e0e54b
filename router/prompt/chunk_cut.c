/* A prompt's pieces cut into chunks, and these hashed, as `cut_interpreted` in router/prompt/cut.py does it.

   `cut(hash, pieces, seed, offset, tiers, least)` takes the address of XXH3_64bits_withSeed in the xxhash package's own
   library, so that there is one implementation of the hash. No piece is copied: a chunk that begins in one piece and
   ends in another, which is at most one chunk a piece, is put together beside them. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#define MAX_TIERS 8
#define MAX_CHUNK 4096 /* bytes of the longest chunk */

typedef uint64_t (*Hash)(const void *data, size_t length, uint64_t seed);

typedef struct {
    Hash hash;
    uint64_t link;           /* the last chunk's hash */
    PyObject *hashes, *ends; /* lists of int */
    Py_ssize_t end;          /* where the last chunk ends, from the first piece's start */
    char rest[MAX_CHUNK];    /* bytes of earlier pieces that are in no chunk, and behind them a chunk's other bytes */
    Py_ssize_t rest_length;
} Cut;

typedef struct {
    Py_ssize_t until, size;
} Tier;

static int append(PyObject *list, PyObject *number)
{
    int failed = !number || PyList_Append(list, number);
    Py_XDECREF(number);
    return !failed;
}

/* Make a chunk of the rest and `length` bytes at `data`; return 0 on an exception. */
static int add_chunk(Cut *cut, const char *data, Py_ssize_t length)
{
    Py_ssize_t size = cut->rest_length + length;
    if (cut->rest_length) {
        memcpy(cut->rest + cut->rest_length, data, (size_t)length);
        data = cut->rest;
    }
    cut->link = cut->hash(data, (size_t)size, cut->link);
    if (!cut->link)
        cut->link = 1;
    cut->rest_length = 0;
    cut->end += size;
    return append(cut->hashes, PyLong_FromUnsignedLongLong(cut->link)) && append(cut->ends, PyLong_FromSsize_t(cut->end));
}

static int add_piece(Cut *cut, PyObject *piece, const Tier *tiers, Py_ssize_t least)
{
    const char *data = PyBytes_AS_STRING(piece);
    Py_ssize_t length = PyBytes_GET_SIZE(piece);
    for (; cut->rest_length + length >= tiers->size; ) {
        while (cut->end >= tiers->until)
            tiers++;
        Py_ssize_t taken = tiers->size - cut->rest_length;
        if (taken > length)
            break;
        if (!add_chunk(cut, data, taken))
            return 0;
        data += taken;
        length -= taken;
    }
    if (cut->rest_length + length >= least)
        return add_chunk(cut, data, length);
    memcpy(cut->rest + cut->rest_length, data, (size_t)length);
    cut->rest_length += length;
    return 1;
}

/* Read the tiers, counted from `offset`; the last one has no end. Return 0 on an exception. */
static int read_tiers(PyObject *list, Py_ssize_t offset, Tier *tiers)
{
    Py_ssize_t count = PyList_Check(list) ? PyList_GET_SIZE(list) : 0;
    if (count < 1 || count > MAX_TIERS) {
        PyErr_SetString(PyExc_ValueError, "the tiers are a list of 1 to 8 pairs");
        return 0;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyArg_ParseTuple(PyList_GET_ITEM(list, i), "nn", &tiers[i].until, &tiers[i].size))
            return 0;
        if (tiers[i].size < 1 || tiers[i].size > MAX_CHUNK || (i && tiers[i].size < tiers[i - 1].size)) {
            PyErr_SetString(PyExc_ValueError, "chunks have 1 to 4096 bytes, and no fewer from tier to tier");
            return 0;
        }
        tiers[i].until -= offset;
    }
    tiers[count - 1].until = PY_SSIZE_T_MAX;
    return 1;
}

static PyObject *cut(PyObject *module, PyObject *args)
{
    unsigned long long address, seed;
    Py_ssize_t offset, least, size = 0;
    PyObject *pieces, *tier_list;
    Tier tiers[MAX_TIERS];
    Cut state = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "KO!KnOn", &address, &PyList_Type, &pieces, &seed, &offset, &tier_list, &least)
        || !read_tiers(tier_list, offset, tiers))
        return NULL;
    if (least < 1 || least > tiers[0].size) {
        PyErr_SetString(PyExc_ValueError, "the shortest chunk is no longer than others");
        return NULL;
    }
    memcpy(&state.hash, &(uintptr_t){(uintptr_t)address}, sizeof state.hash);
    state.link = seed;
    state.hashes = PyList_New(0);
    state.ends = PyList_New(0);
    if (!state.hashes || !state.ends)
        goto fail;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(pieces); i++) {
        PyObject *piece = PyList_GET_ITEM(pieces, i);
        if (!PyBytes_Check(piece)) {
            PyErr_SetString(PyExc_TypeError, "pieces are bytes");
            goto fail;
        }
        size += PyBytes_GET_SIZE(piece);
        if (!add_piece(&state, piece, tiers, least))
            goto fail;
    }
    return Py_BuildValue("(NNny#)", state.hashes, state.ends, size, state.rest, state.rest_length);
fail:
    Py_XDECREF(state.hashes);
    Py_XDECREF(state.ends);
    return NULL;
}

static PyMethodDef methods[] = {
    {"cut", cut, METH_VARARGS, "Cut a prompt's pieces into chunks and hash these."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "chunk_cut", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_chunk_cut(void)
{
    return PyModule_Create(&definition);
}
