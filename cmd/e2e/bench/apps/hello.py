"""Answers with the generation of its vassal file and the number of its process."""
import os


def application(environ, start_response):
    body = ("%s %d\n" % (os.environ.get("GEN", "?"), os.getpid())).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
