"""An application that starts processes of every kind, and holds requests in ways that no signal ends."""
import os
import signal
import subprocess
import threading
import time


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def litter():
    """A child, one that ignores TERM in a session of its own, and a daemon that has left everybody, one without a name too."""
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True, preexec_fn=deaf)
    subprocess.run(["sh", "-c", "(setsid sleep 1000 >/dev/null 2>&1 &)"])
    if os.environ["LITTER"] == "nameless":
        subprocess.run(["sh", "-c", "(env -i setsid sleep 1000 >/dev/null 2>&1 &)"])


if os.environ.get("LITTER"):
    litter()
if os.environ.get("DEAF"):  # a module that takes its time and hears nothing
    deaf()
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(float(os.environ["DEAF"]))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/litter":
        litter()
    elif path == "/sleep":
        time.sleep(1000)
    elif path == "/thread":
        thread = threading.Thread(target=time.sleep, args=(1000,))
        thread.start()
    elif path == "/deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(1000)
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\n"]
