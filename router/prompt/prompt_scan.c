/* The prompt's member of a request body, read without making Python objects of what is in it.

   `scan(body, member)` finds one member of the JSON object `body`, whose value is text or a list of messages, and makes
   pieces of it as router/prompt/message_piece.py does. It returns where the value begins and ends in the body, and
   - of text: its bytes in UTF-8;
   - of messages: a list with the piece of each one that has a role and a text alone, and of any other message three
     numbers: where it begins and ends, and its weight. Python reads those.
   The last thing that it returns is the weight of all but the messages. It returns None where the body is no JSON object, does not have the member once, or has something else there. So
   Python alone says what is right, and a property test holds the two against each other.

   All JSON that is passed over is checked (RFC 8259), so what comes back is the extent of a valid value.

   A body's weight says how much work its reading is, whatever its length: 8 for each string, array and object, 1 for any
   other value and for sixteen bytes of space or of a number. `scan(body, member, most_messages, most_weight)` raises
   OverflowError where a body has more, at once. `weigh(body, most_weight)` is the weight of any bytes, about: it checks
   nothing, and stops above `most_weight`. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define FIELD 0xFE     /* as in message_piece.py */
#define PART 0xFD      /* as in message_piece.py */
#define PIECE_END 0xFF /* as in message_piece.py */
#define MAX_DEPTH 64   /* levels of nesting; deeper bodies are left to Python, which counts its own */
#define MAX_PARTS 16   /* parts of one content; a message with more is left to Python */
#define CHECKED (1 << 20) /* bytes of a text after which only its end is looked for: the engine checks the rest */
#define HEAVY 8        /* the weight of a string, an array or an object */
#define SPACE_SHIFT 4  /* sixteen bytes outside of strings weigh 1 */

typedef const unsigned char *Text;

typedef struct {
    Text at, end; /* what is left to read; `*end` can be read, it is 0 */
    Py_ssize_t weight, most_weight; /* of what has been read */
    Py_ssize_t messages_weight;     /* the part of it that is of messages */
} Reader;

typedef struct {
    Text start, end; /* without the quotes */
    int has_escapes;
} String;

typedef struct {
    String role, parts[MAX_PARTS];
    int part_count;
} Message;

static void skip_space(Reader *in)
{
    Text start = in->at;
    while (*in->at == ' ' || *in->at == '\n' || *in->at == '\r' || *in->at == '\t')
        in->at++;
    in->weight += (in->at - start) >> SPACE_SHIFT;
}

/* Take the byte `wanted`, after white space, if it comes next. */
static int take(Reader *in, unsigned char wanted)
{
    skip_space(in);
    if (in->at >= in->end || *in->at != wanted)
        return 0;
    in->at++;
    return 1;
}

/* Return the first byte from `at` on that is not plain text: a quote, a backslash, a control character, not ASCII. */
static Text plain_until(Text at, Text end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), space = _mm_set1_epi8(' ');
    for (; end - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)at);
        __m128i special = _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash));
        /* Bytes from 0x80 on are negative here, so below a space. */
        int found = _mm_movemask_epi8(_mm_or_si128(special, _mm_cmplt_epi8(block, space)));
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    while (at < end && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Return the first quote or backslash from `at` on. */
static Text quote_until(Text at, Text end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    for (; end - at >= 16; at += 16) {
        __m128i block = _mm_loadu_si128((const __m128i *)at);
        int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)));
        if (found)
            return at + __builtin_ctz((unsigned)found);
    }
#endif
    while (at < end && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Return the length of the UTF-8 sequence at `at` (RFC 3629, section 4); 0: it is none. */
static int utf8_length(Text at, Text end)
{
    unsigned char first = at[0], least = 0x80, most = 0xBF;
    int length = first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : first >= 0xF0 && first <= 0xF4 ? 4 : 0;
    if (!length || end - at < length)
        return 0;
    if (first == 0xE0)
        least = 0xA0;
    else if (first == 0xF0)
        least = 0x90;
    else if (first == 0xED)
        most = 0x9F;
    else if (first == 0xF4)
        most = 0x8F;
    if (at[1] < least || at[1] > most)
        return 0;
    for (int i = 2; i < length; i++)
        if ((at[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

/* Return the four hexadecimal digits at `at` as a number; -1: they are none. */
static int hex4(Text at, Text end)
{
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        unsigned char digit = at[i], low = digit | 0x20;
        if (digit >= '0' && digit <= '9')
            value = value * 16 + digit - '0';
        else if (low >= 'a' && low <= 'f')
            value = value * 16 + low - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* Return the length of the escape at `at`, and its code point; 0: it is none. Half a surrogate pair is none. */
static int escape_length(Text at, Text end, unsigned *code)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *name;
    int high, low;
    if (end - at < 2)
        return 0;
    if (at[1] != 'u') {
        name = at[1] ? strchr(names, at[1]) : NULL;
        if (!name)
            return 0;
        *code = (unsigned char)meant[name - names];
        return 2;
    }
    high = hex4(at + 2, end);
    if (high < 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return 0;
    *code = (unsigned)high;
    if (high < 0xD800 || high > 0xDFFF)
        return 6;
    if (end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return 0;
    low = hex4(at + 8, end);
    if (low < 0xDC00 || low > 0xDFFF)
        return 0;
    *code = 0x10000 + (((unsigned)high - 0xD800) << 10) + ((unsigned)low - 0xDC00);
    return 12;
}

/* Read a string, if one comes next. */
static int read_string(Reader *in, String *string)
{
    unsigned code;
    int length;
    if (!take(in, '"'))
        return 0;
    string->start = in->at;
    string->has_escapes = 0;
    for (;;) {
        Text at;
        if (in->at - string->start > CHECKED) {
            at = quote_until(in->at, in->end);
            if (at < in->end && *at == '\\') {
                string->has_escapes = 1;
                in->at = in->end - at > 2 ? at + 2 : in->end;
                continue;
            }
        } else {
            at = plain_until(in->at, in->end);
        }
        if (at >= in->end)
            return 0;
        if (*at == '"') {
            string->end = at;
            in->at = at + 1;
            return 1;
        }
        if (*at == '\\') {
            length = escape_length(at, in->end, &code);
            string->has_escapes = 1;
        } else {
            length = *at < 0x80 ? 0 : utf8_length(at, in->end);
        }
        if (!length)
            return 0;
        in->at = at + length;
        /* Such characters rarely stand alone. */
        while (*in->at >= 0x80 && in->at - string->start <= CHECKED && (length = utf8_length(in->at, in->end)))
            in->at += length;
    }
}

static int is(const String *string, const char *word, size_t length)
{
    return !string->has_escapes && (size_t)(string->end - string->start) == length
           && !memcmp(string->start, word, length);
}

static int skip_digits(Reader *in)
{
    Text start = in->at;
    while (*in->at >= '0' && *in->at <= '9')
        in->at++;
    return in->at > start;
}

static int skip_number(Reader *in)
{
    if (*in->at == '-')
        in->at++;
    if (*in->at == '0')
        in->at++;
    else if (!skip_digits(in))
        return 0;
    if (*in->at == '.' && (in->at++, !skip_digits(in)))
        return 0;
    if (*in->at == 'e' || *in->at == 'E') {
        in->at++;
        if (*in->at == '+' || *in->at == '-')
            in->at++;
        return skip_digits(in);
    }
    return 1;
}

static int skip_word(Reader *in, const char *word, Py_ssize_t length)
{
    if (in->end - in->at < length || memcmp(in->at, word, (size_t)length))
        return 0;
    in->at += length;
    return 1;
}

static int skip_value(Reader *in, int depth);

/* Pass over the rest of an array or an object, whose opening bracket has been taken. */
static int skip_members(Reader *in, unsigned char closing, int depth)
{
    String key;
    if (depth > MAX_DEPTH)
        return 0;
    if (take(in, closing))
        return 1;
    do {
        if (closing == '}') {
            if (!(read_string(in, &key) && take(in, ':')))
                return 0;
            in->weight += HEAVY;
        }
        if (!skip_value(in, depth))
            return 0;
    } while (take(in, ','));
    return take(in, closing);
}

/* Pass over one value, if one comes next. */
static int skip_value(Reader *in, int depth)
{
    String string;
    Text start;
    int found;
    skip_space(in);
    if (in->weight > in->most_weight)
        return 0;
    switch (*in->at) {
    case '"':
        in->weight += HEAVY;
        return read_string(in, &string);
    case '{':
        in->weight += HEAVY;
        in->at++;
        return skip_members(in, '}', depth + 1);
    case '[':
        in->weight += HEAVY;
        in->at++;
        return skip_members(in, ']', depth + 1);
    case 't':
        in->weight++;
        return skip_word(in, "true", 4);
    case 'f':
        in->weight++;
        return skip_word(in, "false", 5);
    case 'n':
        in->weight++;
        return skip_word(in, "null", 4);
    default:
        start = in->at;
        found = skip_number(in);
        in->weight += 1 + ((in->at - start) >> SPACE_SHIFT);
        return found;
    }
}

/* Read one part of a content: text, or an object with a `type` and a `text` alone. */
static int read_part(Reader *in, String *text)
{
    int has_type = 0, has_text = 0;
    String key, type;
    skip_space(in);
    if (*in->at == '"')
        return read_string(in, text);
    if (!take(in, '{'))
        return 0;
    do {
        if (!(read_string(in, &key) && take(in, ':')))
            return 0;
        if (is(&key, "type", 4) ? has_type++ || !read_string(in, &type)
                                : !is(&key, "text", 4) || has_text++ || !read_string(in, text))
            return 0;
    } while (take(in, ','));
    return has_text && take(in, '}');
}

/* Read a message's content: text, null, or a list of parts. */
static int read_content(Reader *in, Message *message)
{
    skip_space(in);
    if (*in->at == 'n')
        return skip_word(in, "null", 4);
    if (*in->at == '"') {
        message->part_count = 1;
        return read_string(in, &message->parts[0]);
    }
    if (!take(in, '['))
        return 0;
    if (take(in, ']'))
        return 1;
    do {
        if (message->part_count == MAX_PARTS || !read_part(in, &message->parts[message->part_count++]))
            return 0;
    } while (take(in, ','));
    return take(in, ']');
}

/* Read a message that has a role and perhaps a content, each once, and nothing else; return 0 for any other value. */
static int read_message(Reader *in, Message *message)
{
    int has_role = 0, has_content = 0;
    String key;
    message->part_count = 0;
    if (!take(in, '{'))
        return 0;
    do {
        if (!(read_string(in, &key) && take(in, ':')))
            return 0;
        if (is(&key, "role", 4) ? has_role++ || !read_string(in, &message->role)
                                : !is(&key, "content", 7) || has_content++ || !read_content(in, message))
            return 0;
    } while (take(in, ','));
    return has_role && message->role.end > message->role.start && take(in, '}');
}

/* Write a string's text to `to`, without its escapes up to where they are checked, and return where it ends. */
static unsigned char *write_text(unsigned char *to, const String *string)
{
    Text at = string->start;
    while (string->has_escapes && at < string->end) {
        Text escape = memchr(at, '\\', (size_t)(string->end - at));
        unsigned code = 0;
        int length;
        if (!escape || escape - string->start > CHECKED || !(length = escape_length(escape, string->end, &code)))
            break;
        memcpy(to, at, (size_t)(escape - at));
        to += escape - at;
        at = escape + length;
        if (code >= 0x10000) {
            *to++ = (unsigned char)(0xF0 | code >> 18);
            *to++ = (unsigned char)(0x80 | (code >> 12 & 0x3F));
        } else if (code >= 0x800) {
            *to++ = (unsigned char)(0xE0 | code >> 12);
        }
        if (code >= 0x800)
            *to++ = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        else if (code >= 0x80)
            *to++ = (unsigned char)(0xC0 | code >> 6);
        *to++ = (unsigned char)(code >= 0x80 ? 0x80 | (code & 0x3F) : code);
    }
    memcpy(to, at, (size_t)(string->end - at));
    return to + (string->end - at);
}

/* Return new bytes of at most `length`, filled by the caller and then cut by `made`. */
static PyObject *made(PyObject *bytes, const unsigned char *end)
{
    _PyBytes_Resize(&bytes, (const char *)end - PyBytes_AS_STRING(bytes));
    return bytes;
}

static PyObject *piece_of(const Message *message)
{
    Py_ssize_t length = message->role.end - message->role.start + 2 + message->part_count;
    PyObject *piece;
    unsigned char *to;
    for (int i = 0; i < message->part_count; i++)
        length += message->parts[i].end - message->parts[i].start;
    piece = PyBytes_FromStringAndSize(NULL, length);
    if (!piece)
        return NULL;
    to = write_text((unsigned char *)PyBytes_AS_STRING(piece), &message->role);
    *to++ = FIELD;
    for (int i = 0; i < message->part_count; i++) {
        if (i)
            *to++ = PART;
        to = write_text(to, &message->parts[i]);
    }
    *to++ = PIECE_END;
    return made(piece, to);
}

static PyObject *text_of(const String *string)
{
    PyObject *text = PyBytes_FromStringAndSize(NULL, string->end - string->start);
    return text ? made(text, write_text((unsigned char *)PyBytes_AS_STRING(text), string)) : NULL;
}

/* Return a list with the pieces of the messages that come next; NULL without an exception: they cannot be read here. */
static PyObject *read_messages(Reader *in, Text body, Py_ssize_t most_messages)
{
    PyObject *pieces;
    Message message;
    Py_ssize_t before;
    if (!take(in, '['))
        return NULL;
    pieces = PyList_New(0);
    if (!pieces || take(in, ']'))
        return pieces;
    do {
        PyObject *piece;
        Reader ahead = *in;
        int failed;
        if (PyList_GET_SIZE(pieces) == most_messages) {
            PyErr_SetString(PyExc_OverflowError, "messages");
            goto fail;
        }
        if (read_message(&ahead, &message)) {
            ahead.weight += HEAVY * (1 + message.part_count); /* what making its piece costs, about */
            piece = piece_of(&message);
        } else {
            skip_space(in);
            ahead = *in;
            before = in->weight;
            if (*in->at != '{' || !skip_value(&ahead, 2)) {
                in->weight = ahead.weight;
                goto fail;
            }
            piece = Py_BuildValue("(nnn)", (Py_ssize_t)(in->at - body), (Py_ssize_t)(ahead.at - body),
                                  ahead.weight - before);
        }
        ahead.messages_weight += ahead.weight - in->weight;
        *in = ahead;
        failed = !piece || PyList_Append(pieces, piece);
        Py_XDECREF(piece);
        if (failed)
            goto fail;
    } while (take(in, ','));
    if (take(in, ']'))
        return pieces;
fail:
    Py_DECREF(pieces);
    return NULL;
}

static PyObject *read_member(Reader *in, Text body, Py_ssize_t most_messages)
{
    String string;
    skip_space(in);
    if (*in->at != '"')
        return read_messages(in, body, most_messages);
    return read_string(in, &string) ? text_of(&string) : NULL;
}

static PyObject *scan(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Reader in;
    Text body;
    String key;
    PyObject *value = NULL;
    Py_ssize_t start = 0, end = 0, most_messages;
    (void)module;
    if (count != 4 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "scan(body, member, most_messages, most_weight) takes two bytes and two ints");
        return NULL;
    }
    most_messages = PyLong_AsSsize_t(args[2]);
    in.most_weight = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred())
        return NULL;
    in.weight = in.messages_weight = 0;
    body = (Text)PyBytes_AS_STRING(args[0]);
    in.at = body;
    in.end = body + PyBytes_GET_SIZE(args[0]);
    if (!take(&in, '{'))
        goto none;
    do {
        if (!read_string(&in, &key) || key.has_escapes || !take(&in, ':'))
            goto none;
        skip_space(&in);
        if (!is(&key, PyBytes_AS_STRING(args[1]), (size_t)PyBytes_GET_SIZE(args[1]))) {
            if (!skip_value(&in, 1))
                goto none;
        } else {
            if (value) /* there are two, of which Python knows the one that counts */
                goto none;
            start = in.at - body;
            value = read_member(&in, body, most_messages);
            if (!value)
                goto none;
            end = in.at - body;
        }
    } while (take(&in, ','));
    if (value && take(&in, '}')) {
        skip_space(&in);
        if (in.at == in.end && in.weight <= in.most_weight)
            return Py_BuildValue("(nnNn)", start, end, value, in.weight - in.messages_weight);
    }
none:
    Py_XDECREF(value);
    if (!PyErr_Occurred() && in.weight > in.most_weight)
        PyErr_SetString(PyExc_OverflowError, "weight");
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *weigh(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    static const unsigned char weights[256] = {['{'] = HEAVY, ['['] = HEAVY, [','] = 1};
    Text at, end, start;
    Py_ssize_t most, weight = 0, outside = 0;
    (void)module;
    if (count != 2 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "weigh(body, most_weight) takes bytes and an int");
        return NULL;
    }
    most = PyLong_AsSsize_t(args[1]);
    if (PyErr_Occurred())
        return NULL;
    at = (Text)PyBytes_AS_STRING(args[0]);
    end = at + PyBytes_GET_SIZE(args[0]);
    while (at < end && weight + (outside >> SPACE_SHIFT) <= most) {
        Text stop = end - at > 4096 ? at + 4096 : end;
        for (start = at; at < stop && *at != '"'; at++)
            weight += weights[*at];
        outside += at - start;
        if (at < stop) { /* a quote */
            weight += HEAVY;
            outside++;
            at++;
            while ((at = quote_until(at, end)) < end && *at == '\\')
                at = end - at > 2 ? at + 2 : end;
            at += at < end;
        }
    }
    return PyLong_FromSsize_t(weight + (outside >> SPACE_SHIFT));
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, "Read one member of a JSON body as a prompt's pieces."},
    {"weigh", (PyCFunction)(void (*)(void))weigh, METH_FASTCALL, "Say about how much work reading a JSON body is."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "prompt_scan", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_prompt_scan(void)
{
    return PyModule_Create(&definition);
}
