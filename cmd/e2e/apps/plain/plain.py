"""A plain WSGI application with a path for everything that two servers could answer differently."""
import json
import os
import signal
import sys
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    handler = ROUTES.get(path, missing)
    return handler(environ, start_response)


def text(start_response, body, status="200 OK", extra=()):
    body = body.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))] + list(extra))
    return [body]


def missing(environ, start_response):
    return text(start_response, "no %s here\n" % environ["PATH_INFO"], "404 Not Found")


def hello(environ, start_response):
    return text(start_response, "hello from %s\n" % os.environ.get("GEN", "?"))


def who(environ, start_response):
    status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
    return text(start_response, json.dumps({"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(), "groups": sorted(os.getgroups()),
                                            "cwd": os.getcwd(), "cap": status["CapEff"], "home": os.environ.get("HOME"), "gen": os.environ.get("GEN")}))


def env(environ, start_response):
    shown = {k: v if isinstance(v, (str, bool, int)) else v.decode("latin-1") if isinstance(v, bytes) else list(v) if isinstance(v, tuple) else type(v).__name__
             for k, v in environ.items()}
    return text(start_response, json.dumps(shown, sort_keys=True))


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", environ.get("CONTENT_TYPE") or "application/octet-stream"), ("X-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


def lines(environ, start_response):
    got = [len(line) for line in environ["wsgi.input"]]
    return text(start_response, json.dumps(got))


def unread(environ, start_response):
    return text(start_response, "not interested\n")


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])

    def parts():
        for i in range(5):
            yield ("part %d\n" % i).encode()
    return parts()


def writer(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"by write, ")
    return [b"and by return\n"]


def cookies(environ, start_response):
    return text(start_response, "two cookies\n", extra=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; HttpOnly")])


def redirect(environ, start_response):
    start_response("302 Found", [("Location", "/elsewhere?x=1"), ("Content-Length", "0")])
    return [b""]


def unchanged(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def empty(environ, start_response):
    start_response("204 No Content", [])
    return []


def error(environ, start_response):
    raise RuntimeError("this application fails on purpose")


def recovered(environ, start_response):
    try:
        start_response("200 OK", [("Content-Type", "text/plain")])
        raise ValueError("second thoughts")
    except ValueError:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry\n"]


def big(environ, start_response):
    body = b"0123456789abcdef" * 65536
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
    return [body]


def sendfile(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/x-python")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"), 4096)


def slow(environ, start_response):
    """Notes when a request begins and ends, so that a test knows which worker held it."""
    name = environ.get("QUERY_STRING", "")
    note("begin", name)
    time.sleep(float(os.environ.get("SLOW", "0.005")))
    note("end", name)
    return text(start_response, "%d\n" % os.getpid())


def note(what, name):
    fd = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, ("%s %s %d\n" % (what, name, os.getpid())).encode())
    os.close(fd)


def die(environ, start_response):
    """Ends the worker as a bug in a C library would."""
    note("begin", environ.get("QUERY_STRING", ""))
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(1)
    return text(start_response, "still alive\n")


ROUTES = {"/": hello, "/who": who, "/env": env, "/echo": echo, "/lines": lines, "/unread": unread, "/stream": stream, "/write": writer,
          "/cookies": cookies, "/redirect": redirect, "/304": unchanged, "/204": empty, "/error": error, "/recovered": recovered,
          "/big": big, "/file": sendfile, "/slow": slow, "/die": die}
