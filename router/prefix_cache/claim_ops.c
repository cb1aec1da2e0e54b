/* What a prompt does to the dicts of `observed_index.py`, as `use_interpreted` and `evict_interpreted` in
   router/prefix_cache/claims.py do it: a prompt of 2 000 words has 34 chunks, and each takes several looks into
   a dict. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Put a key that is in a dict behind all others, with its value; return 0 on an exception. */
static int put_last(PyObject *dict, PyObject *key, PyObject *value)
{
    Py_INCREF(value);
    int failed = PyDict_DelItem(dict, key) || PyDict_SetItem(dict, key, value);
    Py_DECREF(value);
    return !failed;
}

/* Set a replica's bit in a chunk's mask; return 0 on an exception. */
static int set_bit(PyObject *masks, PyObject *chunk, PyObject *bit)
{
    /* Most chunks have one holder: they share the replica's own int, and take one look into the dict. */
    PyObject *mask = PyDict_SetDefault(masks, chunk, bit);
    if (!mask || mask == bit)
        return mask != NULL;
    mask = PyNumber_Or(mask, bit);
    int failed = !mask || PyDict_SetItem(masks, chunk, mask);
    Py_XDECREF(mask);
    return !failed;
}

/* Clear a replica's bit in a chunk's mask, which must have it; return 0 on an exception. */
static int clear_bit(PyObject *masks, PyObject *chunk, PyObject *bit)
{
    PyObject *mask = PyDict_GetItemWithError(masks, chunk);
    if (!mask) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, chunk);
        return 0;
    }
    if (mask == bit)
        return !PyDict_DelItem(masks, chunk);
    mask = PyNumber_Xor(mask, bit);
    if (!mask)
        return 0;
    int some = PyObject_IsTrue(mask);
    int failed = some < 0 || (some ? PyDict_SetItem(masks, chunk, mask) : PyDict_DelItem(masks, chunk));
    Py_DECREF(mask);
    return !failed;
}

/* Return the size of the chunk at `position` as a new reference. */
static PyObject *size_at(PyObject *ends, Py_ssize_t position)
{
    Py_ssize_t start = position ? PyLong_AsSsize_t(PyList_GET_ITEM(ends, position - 1)) : 0;
    Py_ssize_t end = PyLong_AsSsize_t(PyList_GET_ITEM(ends, position));
    return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(end - start);
}

static PyObject *use(PyObject *module, PyObject *args)
{
    PyObject *sizes, *masks, *hashes, *ends, *bit;
    Py_ssize_t added_bytes = 0, added_chunks = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!", &PyDict_Type, &sizes, &PyDict_Type, &masks, &PyList_Type, &hashes, &PyList_Type,
                          &ends, &PyLong_Type, &bit))
        return NULL;
    if (PyList_GET_SIZE(hashes) != PyList_GET_SIZE(ends)) {
        PyErr_SetString(PyExc_ValueError, "each chunk has an end");
        return NULL;
    }
    for (Py_ssize_t position = PyList_GET_SIZE(hashes) - 1; position >= 0; position--) {
        PyObject *chunk = PyList_GET_ITEM(hashes, position);
        Py_ssize_t known = PyDict_GET_SIZE(sizes);
        PyObject *size = size_at(ends, position);
        PyObject *held = size ? PyDict_SetDefault(sizes, chunk, size) : NULL;
        int done = 0;
        if (held && PyDict_GET_SIZE(sizes) == known)
            done = put_last(sizes, chunk, held);
        else if (held) {
            added_bytes += PyLong_AsSsize_t(size);
            added_chunks++;
            done = set_bit(masks, chunk, bit);
        }
        Py_XDECREF(size);
        if (!done)
            return NULL;
    }
    return Py_BuildValue("(nn)", added_bytes, added_chunks);
}

static PyObject *evict(PyObject *module, PyObject *args)
{
    PyObject *sizes, *masks, *bit, *chunk, *size;
    Py_ssize_t bytes, chunks, position = 0, freed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!O!O!nn", &PyDict_Type, &sizes, &PyDict_Type, &masks, &PyLong_Type, &bit, &bytes, &chunks))
        return NULL;
    PyObject *gone = PyList_New(0);
    if (!gone)
        return NULL;
    while ((freed < bytes || PyList_GET_SIZE(gone) < chunks) && PyDict_Next(sizes, &position, &chunk, &size)) {
        freed += PyLong_AsSsize_t(size);
        if (PyErr_Occurred() || PyList_Append(gone, chunk))
            goto fail;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(gone); i++) {
        chunk = PyList_GET_ITEM(gone, i);
        if (PyDict_DelItem(sizes, chunk) || !clear_bit(masks, chunk, bit))
            goto fail;
    }
    chunks = PyList_GET_SIZE(gone);
    Py_DECREF(gone);
    return Py_BuildValue("(nn)", freed, chunks);
fail:
    Py_DECREF(gone);
    return NULL;
}

static PyMethodDef methods[] = {
    {"use", use, METH_VARARGS, "Make chunks the latest used of a replica."},
    {"evict", evict, METH_VARARGS, "Take the least recently used chunks from a replica."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "claim_ops", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_claim_ops(void)
{
    return PyModule_Create(&definition);
}
