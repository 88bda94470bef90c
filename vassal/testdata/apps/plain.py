"""Well-behaved applications."""
import os
import sys
import time


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello " + str(os.getpid()).encode()]


def environ(environ, start_response):
    lines = ["%s=%r" % pair for pair in sorted(environ.items())]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(lines).encode("latin-1", "backslashreplace")]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def slow(environ, start_response):
    time.sleep(float(environ.get("QUERY_STRING") or "0.3"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"slept ", str(os.getpid()).encode()]


def place(environ, start_response):
    import random
    facts = dict(cwd=os.getcwd(), path=sys.path[:3], argv=sys.argv, name=__name__, main=sys.modules["__main__"].__dict__.get("__file__"),
                 prefix=sys.prefix, version=sys.version_info[:2], random=random.random(), umask=os.umask(0), env=dict(os.environ), fds=os.listdir("/proc/self/fd"))
    import json
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(facts).encode()]


def make():
    return application


class Holder:
    app = staticmethod(application)


def spawn(environ, start_response):
    import subprocess
    child = subprocess.Popen(["sleep", "30"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(child.pid).encode()]
