"""What a review found: forks that come back, peers that stall, subprocesses, decoding files."""
import gzip
import os
import subprocess
import sys
import tempfile


def application(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"fine\n"
    if path in ("/fork-exit", "/fork-raise", "/fork-return"):
        pid = os.fork()
        if not pid:
            if path == "/fork-exit":
                sys.exit(0)
            if path == "/fork-raise":
                raise RuntimeError("in the child")
            os.dup2(os.open("/dev/null", os.O_RDWR), 0)
            return []
        body = b"child %d\n" % pid
    elif path == "/body":
        body = b"%d\n" % len(environ["wsgi.input"].read())
    elif path == "/big":
        body = b"x" * (8 << 20)
    elif path == "/chunks":
        start_response("200 OK", [])
        return (b"y" * 4096 for _ in range(2048))
    elif path == "/sigint":
        body = subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True).stdout
    elif path == "/gzip":
        name = tempfile.mktemp()
        with gzip.open(name, "wb") as f:
            f.write(b"plain text")
        file = gzip.open(name)
        os.unlink(name)
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)
    elif path == "/truncate":
        for fd in os.listdir("/proc/self/fd"):
            try:
                if "scoreboard" in os.readlink("/proc/self/fd/" + fd):
                    os.ftruncate(int(fd), 0)
                    body = b"cut\n"
            except OSError:
                pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body]
