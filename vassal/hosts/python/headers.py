"""start_response: what an application says before its body, checked and made into bytes."""

# What a header's name may consist of (RFC 9110, token).
TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

# Headers that belong to the connection between nginx and this socket, not to the application.
HOP_BY_HOP = frozenset(("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))

# How many header names and status lines are remembered. Applications that make up names must not fill the memory.
REMEMBERED = 1000

# How many whole heads are remembered.
HEADS = 64


def responder(answer):
    """Return start_response for one worker.

    answer is a list that the worker resets for every request: 0 the head as bytes or None, 1 whether such an answer has
    no body, 2 the start line, 3 how many headers, 4 whether the head has been sent, 5 the function write().
    """
    names = {}  # header name → "Name: "; only names that are good
    statuses = {}  # status → (start line, the answer has no body)
    heads = {}  # (status, headers…) → what answer is told, for the heads that come again and again

    def start_response(status, headers, exc_info=None):
        if exc_info:
            try:
                if answer[4]:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif answer[0] is not None:
            raise AssertionError("start_response was called twice without exc_info")
        if not isinstance(headers, list):
            raise TypeError("the headers are %s; start_response wants a list of (name, value)" % type(headers).__name__)
        try:
            key = (status, *headers)
            answer[0], answer[1], answer[2], answer[3] = heads[key]
            return answer[5]
        except KeyError:
            pass
        except TypeError:  # a header that is no tuple: slowly() judges it
            key = None
        count = len(headers)
        try:
            line, empty = statuses[status]
            head = line + "\r\n".join([names[name] + value for name, value in headers]) + "\r\n\r\n"
            length = head.find("\nContent-Length: ")
            if (head.count("\n") != count + 2 or head.count("\r") != count + 2 or "\0" in head or not count or not head.isascii()
                    or (length > 0 and not (head[length + 17:head.find("\r", length)].isdecimal()
                                            and head.find("\nContent-Length: ", length + 17) < 0))):
                head = ""
        except (KeyError, TypeError, ValueError):
            head = ""
        if not head:
            line, empty, head = slowly(status, headers, names, statuses)
        told = head.encode("latin-1"), empty, line, count
        if key is not None:
            if len(heads) >= HEADS:
                heads.clear()
            heads[key] = told
        answer[0], answer[1], answer[2], answer[3] = told
        return answer[5]

    return start_response


def slowly(status, headers, names, statuses):
    """Make the head with every check, learn good names, and say what is wrong with bad ones."""
    line, empty = start_line(status)
    if len(statuses) < REMEMBERED:
        statuses[status] = line, empty
    parts = [line]
    length = None
    for header in headers:
        name, value = header
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("header %r: name and value must be str; the value is %s" % (name, type(value).__name__))
        if not name or not TOKEN.issuperset(name):
            raise ValueError("header %r: the name is no HTTP token" % name)
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError("header %r: the value %r holds a line break or a NUL" % (name, value))
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError("header %r: the value %r cannot be sent as latin-1" % (name, value)) from None
        lower = name.lower()
        if lower in HOP_BY_HOP:
            continue
        if lower == "content-length":
            if length not in (None, value):
                raise ValueError("there are two Content-Length: %r and %r" % (length, value))
            if not (value.isascii() and value.isdecimal()):
                raise ValueError("Content-Length %r is not a number" % value)
            if length is not None:
                continue
            length = value
        if len(names) < REMEMBERED and (lower != "content-length" or name == "Content-Length"):
            names[name] = name + ": "
        parts.append(name + ": " + value + "\r\n")
    return line, empty, "".join(parts) + "\r\n"


def start_line(status):
    """Return the start line for a status like "404 Not Found", and whether such an answer has no body."""
    if not isinstance(status, str):
        raise TypeError("the status is %s; it must be a str like '200 OK'" % type(status).__name__)
    code = status[:3]
    if not (len(code) == 3 and code.isascii() and code.isdecimal() and "200" <= code <= "599" and status[3:4] in ("", " ")):
        raise ValueError("the status %r must be a code from 200 to 599 and a reason, like '200 OK'" % status)
    if not status.isprintable():
        raise ValueError("the status %r holds a character that cannot be sent" % status)
    return "HTTP/1.1 %s %s\r\n" % (code, status[4:]), code in ("204", "304")
