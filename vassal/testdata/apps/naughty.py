"""One misbehaviour for each path."""
import io
import os
import sys

plain = [("Content-Type", "text/plain")]


def raises(environ, start_response):
    raise ValueError("raised before the headers")


def raises_late(environ, start_response):
    start_response("200 OK", plain)
    yield b"begun "
    raise ValueError("raised after the headers")


def raises_before_body(environ, start_response):
    start_response("200 OK", plain)
    raise ValueError("raised before the body")


def never_starts(environ, start_response):
    return [b"body without headers"]


def returns_none(environ, start_response):
    start_response("200 OK", plain)


def returns_text(environ, start_response):
    start_response("200 OK", plain)
    return ["text"]


def starts_twice(environ, start_response):
    start_response("200 OK", plain)
    start_response("200 OK", plain)
    return [b"twice"]


def starts_over(environ, start_response):
    start_response("200 OK", plain)
    try:
        raise KeyError("x")
    except KeyError:
        start_response("503 Not Now", plain, sys.exc_info())
    return [b"started over"]


def starts_over_late(environ, start_response):
    write = start_response("200 OK", plain)
    write(b"begun")
    try:
        raise KeyError("too late")
    except KeyError:
        start_response("503 Not Now", plain, sys.exc_info())
    return [b"never"]


def newline_in_value(environ, start_response):
    start_response("200 OK", plain + [("X-A", "a\r\nSet-Cookie: stolen=1")])
    return [b"body"]


def newline_in_name(environ, start_response):
    start_response("200 OK", plain + [("X-A\r\nX-B", "a")])
    return [b"body"]


def nul_in_value(environ, start_response):
    start_response("200 OK", plain + [("X-A", "a\0b")])
    return [b"body"]


def blank_in_name(environ, start_response):
    start_response("200 OK", plain + [("X A", "a")])
    return [b"body"]


def number_as_value(environ, start_response):
    start_response("200 OK", plain + [("X-A", 5)])
    return [b"body"]


def bytes_as_value(environ, start_response):
    start_response("200 OK", plain + [("X-A", b"5")])
    return [b"body"]


def snowman_in_value(environ, start_response):
    start_response("200 OK", plain + [("X-A", "\u2603")])
    return [b"body"]


def newline_in_status(environ, start_response):
    start_response("200 OK\r\nX: y", plain)
    return [b"body"]


def no_status(environ, start_response):
    start_response("fine", plain)
    return [b"body"]


def two_lengths(environ, start_response):
    start_response("200 OK", [("Content-Length", "4"), ("Content-Length", "5")])
    return [b"body"]


def odd_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "four")])
    return [b"body"]


def headers_as_tuple(environ, start_response):
    start_response("200 OK", tuple(plain))
    return [b"body"]


def hop_by_hop(environ, start_response):
    start_response("200 OK", plain + [("Connection", "keep-alive"), ("Transfer-Encoding", "chunked"), ("X-Kept", "yes")])
    return [b"body"]


def exits(environ, start_response):
    sys.exit(3)


def interrupts(environ, start_response):
    raise KeyboardInterrupt


def no_content(environ, start_response):
    start_response("204 No Content", plain)
    return [b"must not be sent"]


def not_modified(environ, start_response):
    start_response("304 Not Modified", [])
    return [b"must not be sent"]


def empty_list(environ, start_response):
    start_response("200 OK", plain)
    return []


def empty_chunks(environ, start_response):
    start_response("200 OK", plain)
    return [b"", b"a", b"", b"b"]


def generator(environ, start_response):
    start_response("200 OK", plain)
    for i in range(3):
        yield b"%d " % i


def lazy_generator(environ, start_response):
    yield b""
    start_response("200 OK", plain)
    yield b"lazily"


def writes(environ, start_response):
    write = start_response("200 OK", plain)
    write(b"written ")
    write(b"")
    return [b"returned"]


class Closing:
    closed = 0

    def __init__(self, chunks):
        self.chunks = iter(chunks)

    def __iter__(self):
        return self

    def __next__(self):
        chunk = next(self.chunks)
        if chunk is None:
            raise ValueError("raised while iterating")
        return chunk

    def close(self):
        Closing.closed += 1


def closes(environ, start_response):
    start_response("200 OK", plain)
    return Closing([b"a", b"b"])


def closes_after_error(environ, start_response):
    start_response("200 OK", plain)
    return Closing([b"a", None])


def closed(environ, start_response):
    start_response("200 OK", plain)
    return [b"%d" % Closing.closed]


def close_raises(environ, start_response):
    class Bad(Closing):
        def close(self):
            raise ValueError("raised while closing")
    start_response("200 OK", plain)
    return Bad([b"sent all the same"])


def closes_stdout(environ, start_response):
    sys.stdout.close()
    sys.stderr.close()
    start_response("200 OK", plain)
    return [b"closed"]


def closes_descriptors(environ, start_response):
    os.close(1)
    os.close(0)
    start_response("200 OK", plain)
    return [b"closed"]


def closes_all(environ, start_response):
    start_response("200 OK", plain)
    yield b"closing"
    os.closerange(3, 100)


def reads_nothing(environ, start_response):
    start_response("200 OK", plain)
    return [b"unread"]


def reads_all_ways(environ, start_response):
    i = environ["wsgi.input"]
    parts = [i.read(2), i.readline(), i.readline(3), i.read(0)] + i.readlines(1) + list(i) + [i.read(), i.read(5), i.readline()]
    start_response("200 OK", plain)
    return [repr(parts).encode()]


def reads_too_much(environ, start_response):
    try:
        got = environ["wsgi.input"].read()
        text = "read %d" % len(got)
    except OSError as error:
        text = "OSError: %s" % error
    print(text, file=sys.stderr)
    start_response("200 OK", plain)
    return [text.encode()]


def file(environ, start_response):
    path = os.path.join(os.path.dirname(__file__), "naughty.py")
    f = open(path, "rb")
    f.seek(7)
    start_response("200 OK", plain)
    return environ["wsgi.file_wrapper"](f, 4096)


def memory_file(environ, start_response):
    start_response("200 OK", plain)
    return environ["wsgi.file_wrapper"](io.BytesIO(b"m" * 100000))


def large(environ, start_response):
    start_response("200 OK", plain)
    return [b"x" * 3000000, b"y"]


def overrides(environ, start_response):
    start_response("200 OK", plain)
    return [repr((environ["wsgi.url_scheme"], environ["wsgi.multiprocess"], environ["wsgi.input"].read())).encode()]


def dies(environ, start_response):
    os._exit(9)


def changes_signals(environ, start_response):
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    start_response("200 OK", plain)
    return [b"ignores SIGTERM now"]


def application(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response)
