"""The application that a real uwsgi runs in the tests of this package."""
import json


def application(environ, start_response):
    path = environ["PATH_INFO"]
    head = [("Content-Type", "text/plain"), ("X-From", "app")]
    if path.startswith("/environ"):
        size = len(environ["wsgi.input"].read())
        texts = {k: v for k, v in environ.items() if isinstance(v, str)}
        start_response("200 OK", head)
        return [json.dumps({"environ": texts, "body": size}).encode()]
    if path == "/hello":
        start_response("200 OK", head + [("Content-Length", "5")])
        return [b"hello"]
    if path == "/chunks":
        start_response("200 OK", head)
        return iter([b"one\n", b"two\n"])
    start_response("404 Not Found", head)
    return [b"nothing here\n"]
