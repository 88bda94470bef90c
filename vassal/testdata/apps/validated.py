"""Applications under wsgiref.validate, which asserts everything that PEP 3333 demands of both sides."""
import io
from wsgiref.validate import validator


def inner(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain")]
    if path == "/generator":
        start_response("200 OK", headers)
        return (chunk for chunk in (b"a", b"b"))
    if path == "/echo":
        stream = environ["wsgi.input"]
        body = stream.read(2) + stream.readline() + b"".join(stream.readlines())
        assert body == b"a=b\nc", body
        start_response("200 OK", headers)
        return [body]
    if path == "/write":
        write = start_response("200 OK", headers)
        write(b"written")
        return [b""]
    if path == "/file":
        start_response("200 OK", headers)
        return iter([b"".join(environ["wsgi.file_wrapper"](io.BytesIO(b"file")))])
    if path == "/uwsgi":
        import uwsgi
        text = "%r %d %s %s" % (uwsgi.version, uwsgi.numproc, 1 <= uwsgi.worker_id() <= 2, uwsgi.opt["processes"] == b"2")
        uwsgi.lock()
        uwsgi.unlock()
        assert len(uwsgi.workers()) == 2 and uwsgi.masterpid() != uwsgi.mypid() and uwsgi.total_requests() >= 0
        start_response("200 OK", headers)
        return [text.encode()]
    start_response("200 OK", headers)
    return [b"list"]


application = validator(inner)
