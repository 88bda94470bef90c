"""The module that `import uwsgi` finds inside the host: the part of uWSGI's API that can be answered truthfully."""
import sys
from posix import getpid, uname

VERSION = b"2.0.21"  # the version of uWSGI whose API this is


def install(order, board):
    """Make the module, put it into sys.modules and return it. board is the whole scoreboard."""
    from time import time
    module = type(sys)("uwsgi", "uWSGI's Python API, as far as emperord answers it.")
    names = module.__dict__
    options = {}
    for key, value in order["options"]:
        value = True if value is True else value.encode("utf-8", "surrogateescape")
        if key in options:
            if type(options[key]) is not list:
                options[key] = [options[key]]
            options[key].append(value)
        else:
            options[key] = value
    count = order["processes"]
    master = getpid()
    worker = [0]
    variables = {}

    def worker_id():
        """The number of this worker from 1 on; 0 in the host."""
        return worker[0]

    def masterpid():
        """The pid of the process that forks the workers."""
        return master

    def mypid():
        """The pid of this process."""
        return getpid()

    def total_requests():
        """How many requests all workers have served."""
        return sum(board[2::8])

    def request_id():
        """How many requests this worker has served before the one under way."""
        return board[(worker[0] - 1) * 8 + 2] if worker[0] else 0

    def workers():
        """One dictionary for each worker, from the scoreboard."""
        states = {0: b"cheap", 1: b"idle", 2: b"busy", 3: b"busy"}
        return tuple({
            "id": n + 1, "pid": board[n * 8 + 1], "requests": board[n * 8 + 2], "exceptions": board[n * 8 + 3],
            "status": states.get(board[n * 8], b"busy"), "running_time": board[n * 8 + 5] // 1000, "tx": board[n * 8 + 6],
            "delta_requests": board[n * 8 + 2], "respawn_count": 1, "signals": 0, "rss": 0, "vsz": 0,
            "last_spawn": started_on, "avg_rt": 0, "apps": [],
        } for n in range(count))

    def lock(number=0):
        """Take one of the locks that all workers share; it is released when its holder ends."""
        from fcntl import LOCK_EX, lockf
        lockf(order["lock"], LOCK_EX, 1, number)

    def unlock(number=0):
        """Release a lock."""
        from fcntl import LOCK_UN, lockf
        lockf(order["lock"], LOCK_UN, 1, number)

    def set_logvar(name, value):
        """Keep a variable for the log line of this request."""
        variables[name] = value

    def get_logvar(name):
        """Return a variable that set_logvar has kept, or None."""
        return variables.get(name)

    def log(text):
        """Write a line to the log."""
        from _emperord.request import say
        say(text + "\n")
        return True

    started_on = int(time())
    for function in (worker_id, masterpid, mypid, total_requests, request_id, workers, lock, unlock, set_logvar, get_logvar, log):
        names[function.__name__] = function
    names.update(
        version=VERSION, version_info=(2, 0, 21, 0, b""), hostname=uname().nodename.encode(), opt=options, magic_table={},
        numproc=count, cores=1, buffer_size=order["buffer"], started_on=started_on, has_threads=0, applications=None, unbit=False,
    )
    sys.modules["uwsgi"] = module
    return worker
