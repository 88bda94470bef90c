"""A plain WSGI application: says who serves it."""
import os
import pwd

served = 0


def user():
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "uid %d" % os.getuid()


def application(environ, start_response):
    global served
    served += 1
    text = "Hello from %s, worker %d, running as %s: request %d of this worker.\nYou asked for %s %s\n" % (
        os.environ.get("EMPERORD_VASSAL", "a vassal"), os.getpid(), user(), served,
        environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace"))
    body = text.encode("utf-8")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
